require "sinatra/base"

class App < Sinatra::Base
  get "/hello/:name" do
    "Hello #{params['name']} from #{request.script_name}\n"
  end

  post "/sum" do
    "#{params['a'].to_i + params['b'].to_i}\n"
  end
end

run App
