# Middleware of the rack gem around an application that uses its request and response.
require "rack"

use Rack::Lint
use Rack::ContentLength
use Rack::ConditionalGet
use Rack::ETag
use Rack::Head
use Rack::MethodOverride
use Rack::Static, urls: ["/config.ru"], root: __dir__

map "/sum" do
  run(lambda do |env|
    request = Rack::Request.new(env)
    next [405, { "Content-Type" => "text/plain" }, ["not so\n"]] unless request.put?

    [200, { "Content-Type" => "text/plain" }, ["#{request.params['a'].to_i + request.params['b'].to_i}\n"]]
  end)
end

map "/hello" do
  run(lambda do |env|
    request = Rack::Request.new(env)
    response = Rack::Response.new
    response["Content-Type"] = "text/plain"
    response.set_cookie("seen", value: request.cookies.fetch("seen", "0").to_i + 1, path: request.script_name)
    response.write("Hello #{Rack::Utils.unescape(request.path_info[1..])} from #{request.script_name}\n")
    response.finish
  end)
end
