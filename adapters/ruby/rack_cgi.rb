# Calls a Rack application for the one request that lies in the environment and on standard input
# (interface: cgi). ruby rack_cgi.rb [config.ru]
#
# config.ru is read by Rack::Builder where the rack gem can be required; without it, by the few words
# here (use, run, map), so that a plain Rack application needs no gem at all.

require "stringio"

$LOAD_PATH.push(File.join(__dir__, "missing"))

$stdout.sync = false
$stdout.binmode
$stdin.binmode
$0 = "rack"

module HutchRack
  # The body: rewindable, as Rack 2 wants it; read when the application asks.
  class Input
    def initialize(io, length)
      @io, @length, @buffer = io, length, nil
    end

    %i[read gets each rewind size].each do |name|
      define_method(name) { |*args, &block| buffer.public_send(name, *args, &block) }
    end

    def close; end

    private

    def buffer
      @buffer ||= StringIO.new((@length ? @io.read(@length) : @io.read) || "".b).binmode
    end
  end

  # What config.ru says, without the rack gem.
  class Builder
    def self.parse(path)
      builder = new
      builder.instance_eval(File.read(path), path, 1)
      builder.to_app
    end

    def initialize
      @use, @maps, @run = [], {}, nil
    end

    def use(middleware, *args, **options, &block)
      @use << ->(app) { options.empty? ? middleware.new(app, *args, &block) : middleware.new(app, *args, **options, &block) }
    end

    def run(app = nil, &block)
      @run = app || block
    end

    def map(prefix, &block)
      inner = Builder.new
      inner.instance_eval(&block)
      @maps[prefix.chomp("/")] = inner.to_app
    end

    def to_app
      raise "config.ru has no run" unless @run || !@maps.empty?
      app = @maps.empty? ? @run : method(:choose).to_proc
      @use.reverse.inject(app) { |inner, middleware| middleware.call(inner) }
    end

    def choose(env)
      path = env["PATH_INFO"]
      @maps.keys.sort_by { |prefix| -prefix.size }.each do |prefix|
        next unless path == prefix || path.start_with?(prefix + "/")
        env["SCRIPT_NAME"] += prefix
        env["PATH_INFO"] = path[prefix.size..]
        return @maps[prefix].call(env)
      end
      @run ? @run.call(env) : [404, { "content-type" => "text/plain" }, ["Not Found\n"]]
    end
  end

  def self.load(path)
    begin
      require "rack"
    rescue LoadError
      return Builder.parse(path)
    end
    app = Rack::Builder.parse_file(path)
    app.is_a?(Array) ? app.first : app # Rack 2 gives the options as well
  end

  def self.environment
    env = ENV.to_h
    env.delete("HTTP_PROXY") # httpoxy: a client's Proxy header is no setting
    env.delete("HTTP_CONTENT_LENGTH")
    env.delete("HTTP_CONTENT_TYPE")
    env.delete("CONTENT_LENGTH") if env["CONTENT_LENGTH"] == ""
    env["SCRIPT_NAME"] = "" if [nil, "/"].include?(env["SCRIPT_NAME"])
    env["PATH_INFO"] ||= ""
    env["PATH_INFO"] = "/" if env["PATH_INFO"].empty? && env["SCRIPT_NAME"].empty?
    env["QUERY_STRING"] ||= ""
    env["REQUEST_METHOD"] ||= "GET"
    env["SERVER_NAME"] ||= "localhost"
    env["SERVER_PORT"] ||= "80"
    env["SERVER_PROTOCOL"] ||= "HTTP/1.1"
    env["HTTP_VERSION"] ||= env["SERVER_PROTOCOL"]
    length = env["CONTENT_LENGTH"]&.to_i
    length = 0 if length.nil? && !env.key?("HTTP_TRANSFER_ENCODING")
    env.update(
      "rack.version" => [1, 6], "rack.input" => Input.new($stdin, length), "rack.errors" => $stderr,
      "rack.multithread" => false, "rack.multiprocess" => true, "rack.run_once" => true,
      "rack.hijack?" => false,
      "rack.url_scheme" => %w[on 1].include?(env["HTTPS"].to_s.downcase) ? "https" : "http"
    )
  end

  REASONS = { 200 => "OK", 201 => "Created", 204 => "No Content", 301 => "Moved Permanently",
              302 => "Found", 303 => "See Other", 304 => "Not Modified", 400 => "Bad Request",
              401 => "Unauthorized", 403 => "Forbidden", 404 => "Not Found",
              500 => "Internal Server Error" }.freeze

  def self.head(status, headers)
    lines = ["Status: #{status} #{REASONS[status.to_i]}".rstrip]
    headers.each do |name, value|
      next if name.start_with?("rack.")
      # Rack 2: values of one name, a line each; Rack 3: an array of them.
      (value.is_a?(Array) ? value : value.to_s.split("\n", -1)).each do |one|
        raise ArgumentError, "a header holds a line break" if "#{name}#{one}".match?(/[\r\n]/)
        lines << "#{name}: #{one}"
      end
    end
    lines.join("\r\n") + "\r\n\r\n"
  end

  def self.serve(app)
    sent = false
    status, headers, body = app.call(environment)
    begin
      text = head(status, headers)
      if body.respond_to?(:call) && !body.respond_to?(:each) # Rack 3: a streaming body
        $stdout.write(text)
        sent = true
        body.call(Stream.new)
      else
        body.each do |piece|
          $stdout.write(text) unless sent
          sent = true
          $stdout.write(piece)
          $stdout.flush
        end
        $stdout.write(text) unless sent
      end
      sent = true
      $stdout.flush
    ensure
      body.close if body.respond_to?(:close)
    end
  rescue Errno::EPIPE
    exit!(0)
  rescue StandardError, ScriptError => error
    $stderr.write(error.full_message(highlight: false))
    exit!(1) if sent # the front sees that the answer is not complete
    $stdout.write("Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nInternal Server Error\n")
    $stdout.flush
  end

  # What a streaming body writes to.
  class Stream
    def write(data)
      $stdout.write(data)
      $stdout.flush
      data.bytesize
    end
    alias << write

    def read(*) = nil
    def flush = $stdout.flush
    def close(*) = nil
    def close_read = nil
    def close_write = nil
    def closed? = false
  end
end

# Ruby for WASI unwinds its stack through a buffer of a few KiB, so a require within a require within the
# block that config.ru is aborts ("unreachable"). What config.ru and its libraries require at their top
# is therefore required here, the innermost first and none within another.
module HutchRack
  def self.wanted(path, seen, order)
    File.foreach(path, encoding: "BINARY") do |line|
      name = line[/\Arequire[ (]+["']([^"']+)["']/, 1]
      next if name.nil? || seen[name]
      seen[name] = true
      file = $LOAD_PATH.map { |place| "#{place}/#{name}.rb" }.find { |file| File.file?(file) }
      wanted(file, seen, order) if file
      order << name
    end
    order
  end
end

config = ARGV[0] || "config.ru"
begin
  wanted = HutchRack.wanted(config, {}, [])
rescue SystemCallError
  wanted = [] # whoever loads it says what is wrong
end
wanted.unshift("rack", "rack/builder") if wanted.include?("rack") || wanted.any? { |name| name.start_with?("sinatra") }
wanted.each do |name|
  require name
rescue LoadError, StandardError
  next # config.ru says so, if it matters
end
# What rack would load when it is first named, in the middle of a request.
if defined?(Rack) && Rack.respond_to?(:release)
  [Rack, *%i[Session Auth Multipart Protection].filter_map { |name| Rack.const_get(name) if Rack.const_defined?(name) }].each do |place|
    place.constants.filter_map { |name| place.autoload?(name) }.each do |file|
      require file
    rescue LoadError, StandardError
      next
    end
  end
end
application = HutchRack.load(config)
application.prototype if application.respond_to?(:prototype) # Sinatra's middleware, made at the first call

# A process that goes on from a snapshot has numbers of its own.
srand
HutchRack.serve(application)
