OWN = Random.new # without a seed of its own
OWN.rand

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

map "/tokens" do
  run ->(_) {
    tokens = [rand, Random.rand(2**60), OWN.rand, Random.new.rand, [*0..999].shuffle.first(4).join("-"), Random.urandom(8).unpack1("H*")]
    begin
      require "securerandom"
      tokens += [SecureRandom.hex(8), SecureRandom.uuid]
    rescue LoadError
      nil
    end
    [200, {}, [tokens.join(" ") + "\n"]]
  }
end

count = 0
map "/count" do
  run ->(_) { [200, {}, ["#{count += 1}\n"]] }
end

class Slow
  def each
    4.times do |i|
      yield "#{i}\n"
      sleep 0.05
    end
  end
end

map "/stream" do
  run ->(_) { [200, { "content-type" => "text/event-stream" }, Slow.new] }
end

class Broken
  def each
    yield "begun\n"
    raise "asked to, late"
  end
end

map "/raise-late" do
  run ->(_) { [200, {}, Broken.new] }
end

map "/split" do
  run ->(_) { [200, { "x-a" => "b\r\nset-cookie: c" }, []] }
end

map "/cookies" do
  run ->(_) { [200, { "set-cookie" => %w[a=1 b=2] }, []] }
end
