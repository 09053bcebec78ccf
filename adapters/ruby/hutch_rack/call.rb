# A request and a Rack application -> its answer.
module HutchRack
  # The body: rewindable, as Rack 2 wants it. What is small has been read before the application runs;
  # the rest is read when it asks.
  class Input
    READ_FIRST = 1 << 18

    def initialize(exchange, length)
      @exchange, @buffer = exchange, nil
      buffer if length && length <= READ_FIRST
    end

    %i[read gets each rewind size pos seek].each do |name|
      define_method(name) { |*args, &block| buffer.public_send(name, *args, &block) }
    end

    def close; end

    private

    def buffer
      return @buffer if @buffer
      data = "".b
      while (piece = @exchange.read)
        data << piece
      end
      @buffer = StringIO.new(data).binmode
    end
  end

  # What a streaming body of Rack 3 writes to.
  class Output
    def initialize(exchange)
      @exchange = exchange
    end

    def write(data)
      @exchange.write(data)
      @exchange.flush
      data.bytesize
    end

    def <<(data)
      write(data)
      self
    end

    def read(*) = nil
    def flush = self
    def close(*) = nil
    def close_read = nil
    def close_write = nil
    def closed? = false
  end

  REASONS = { 200 => "OK", 201 => "Created", 204 => "No Content", 301 => "Moved Permanently",
              302 => "Found", 303 => "See Other", 304 => "Not Modified", 400 => "Bad Request",
              401 => "Unauthorized", 403 => "Forbidden", 404 => "Not Found",
              500 => "Internal Server Error" }.freeze

  def self.environment(exchange)
    env = exchange.variables
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
    env["rack.version"] = [1, 6]
    env["rack.input"] = Input.new(exchange, length)
    env["rack.errors"] = $stderr
    env["rack.multithread"] = env["rack.run_once"] = env["rack.hijack?"] = false
    env["rack.multiprocess"] = true
    env["rack.url_scheme"] = %w[on 1].include?(env["HTTPS"].to_s.downcase) ? "https" : "http"
    env
  end

  def self.head(status, headers)
    text = "Status: #{status} #{REASONS[status.to_i]}".rstrip << "\r\n"
    headers.each do |name, value|
      next if name.start_with?("rack.")
      # Rack 2: values of one name, a line each; Rack 3: an array of them.
      (value.is_a?(Array) ? value : value.to_s.split("\n", -1)).each do |one|
        raise ArgumentError, "a header holds a line break" if "#{name}#{one}".match?(/[\r\n]/)
        text << "#{name}: #{one}\r\n"
      end
    end
    text << "\r\n"
  end

  def self.answer(exchange, status, headers, body)
    exchange.write(head(status, headers))
    if body.respond_to?(:call) && !body.respond_to?(:each) # Rack 3: a streaming body
      exchange.flush
      body.call(Output.new(exchange))
    else
      streams = !body.respond_to?(:to_ary)
      body.each do |piece|
        exchange.write(piece)
        exchange.flush if streams
      end
    end
  ensure
    body.close if body.respond_to?(:close)
  end

  # Whether the answer is complete.
  def self.call(app, exchange)
    status, headers, body = app.call(environment(exchange))
    answer(exchange, status, headers, body)
    exchange.finish
    true
  rescue Gone
    $stderr.write("hutch: the client has gone\n")
    false
  rescue StandardError, ScriptError, NoMemoryError, SystemStackError => error
    $stderr.write(error.full_message(highlight: false))
    return false if exchange.began? # the front sees that the answer is not complete
    exchange.forget
    exchange.write("Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nInternal Server Error\n")
    exchange.finish
    true
  end
end
