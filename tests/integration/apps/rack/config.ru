class Middleware
  def initialize(app, value:) = (@app, @value = app, value)

  def call(env)
    status, headers, body = @app.call(env)
    [status, headers.merge("x-middleware" => @value), body]
  end
end

use Middleware, value: "yes"

map "/echo" do
  run ->(env) { [200, { "content-type" => "text/plain" }, [env["rack.input"].read]] }
end

map "/raise" do
  run ->(_) { raise "asked to" }
end

map "/cookies" do
  run ->(_) { [200, { "set-cookie" => %w[a=1 b=2] }, []] }
end
