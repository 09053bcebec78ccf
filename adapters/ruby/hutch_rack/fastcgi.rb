# FastCGI, the responder's side: one request at a time, several one after the other on a connection
# where FCGI_KEEP_CONN asks for it. Multiplexed requests are refused, which the protocol allows.
# Specification: FastCGI 1.0, sections 3 to 6.
#
# Written without blocks where it matters: each call of a block from C takes some of the few KiB
# through which Ruby for WASI unwinds its stack.
module HutchRack
  class ProtocolError < StandardError; end
  class Gone < StandardError; end

  # The connection's bytes.
  class Stream
    def initialize(io)
      @io, @buffer, @at = io, "".b, 0
    end

    # size bytes, or nil at the end.
    def exactly(size)
      if @buffer.bytesize - @at < size
        @buffer = @buffer.byteslice(@at..)
        @at = 0
        while @buffer.bytesize < size
          piece = receive
          if piece.nil?
            return nil if @buffer.empty?
            raise Gone
          end
          @buffer << piece
        end
      end
      @at += size
      @buffer.byteslice(@at - size, size)
    end

    def write(data)
      until data.empty?
        begin
          data = data.byteslice(@io.syswrite(data)..)
        rescue Errno::EAGAIN # sockets of a Ruby that has them
          @io.wait_writable
        end
      end
    rescue SystemCallError
      raise Gone
    end

    private

    def receive
      @io.readpartial(65_536)
    rescue EOFError, Errno::ECONNRESET
      nil
    end
  end

  class Connection
    BEGIN_REQUEST, ABORT, FINISH, PARAMS, STDIN, STDOUT, = 1, 2, 3, 4, 5, 6
    GET_VALUES, GET_VALUES_RESULT, UNKNOWN = 9, 10, 11
    REQUEST_COMPLETE, CANT_MPX_CONN, UNKNOWN_ROLE = 0, 1, 3
    PARAMS_MOST = 1 << 20
    KNOWN = { "FCGI_MAX_CONNS" => "1", "FCGI_MAX_REQS" => "1", "FCGI_MPXS_CONNS" => "0" }.freeze

    def initialize(io)
      @stream = Stream.new(io)
    end

    def self.record(kind, request, content = "".b)
      return [1, kind, request, content.bytesize, 0].pack("CCnnCx") + content if content.bytesize < 65_536
      out, at = "".b, 0
      while at < content.bytesize
        out << record(kind, request, content.byteslice(at, 65_535))
        at += 65_535
      end
      out
    end

    def self.pairs(data)
      result, at, size = {}, 0, data.bytesize
      while at < size
        lengths = [0, 0]
        lengths.size.times do |i|
          length = data.getbyte(at) or raise ProtocolError, "a name-value pair is cut off"
          at += 1
          if length > 127
            rest = data.byteslice(at, 3)
            raise ProtocolError, "a name-value pair is cut off" if rest.bytesize < 3
            length = "#{(length & 127).chr}#{rest}".b.unpack1("N")
            at += 3
          end
          lengths[i] = length
        end
        name, value = lengths
        raise ProtocolError, "a name-value pair is cut off" if at + name + value > size
        result[data.byteslice(at, name)] = data.byteslice(at + name, value)
        at += name + value
      end
      result
    end

    def write(data) = @stream.write(data)

    # [kind, request, content], or nil at the end.
    def next_record
      header = @stream.exactly(8) or return nil
      version, kind, request, length, padding = header.unpack("CCnnC")
      raise ProtocolError, "FastCGI version #{version}" if version != 1
      content = @stream.exactly(length + padding) or raise Gone
      [kind, request, padding > 0 ? content.byteslice(0, length) : content]
    end

    # The next request, or nil where the connection ends.
    def next_exchange
      while (kind, request, content = next_record)
        if kind == BEGIN_REQUEST
          raise ProtocolError, "FCGI_BEGIN_REQUEST is cut off" if content.bytesize < 3
          role, flags = content.unpack("nC")
          if role != 1
            finish(request, UNKNOWN_ROLE)
          elsif (params = read_params(request))
            return Exchange.new(self, request, flags & 1 == 1, params)
          end
        elsif request == 0
          management(kind, content)
        end # what is left of a request that has ended is skipped
      end
      nil
    end

    # A piece of the body, nil at its end.
    def body(request)
      while (kind, other, content = next_record)
        if other != request
          other == 0 ? management(kind, content) : refuse(kind, other)
        elsif kind == STDIN
          return content.empty? ? nil : content
        elsif kind == ABORT
          raise Gone
        end
      end
      raise Gone
    end

    def finish(request, why = REQUEST_COMPLETE)
      write(Connection.record(FINISH, request, [0, why].pack("NCx3")))
    end

    private

    def read_params(request)
      data = "".b
      while (kind, other, content = next_record)
        if other != request
          other == 0 ? management(kind, content) : refuse(kind, other)
        elsif kind == ABORT
          finish(request)
          return nil
        elsif kind == PARAMS
          return Connection.pairs(data) if content.empty?
          data << content
          raise ProtocolError, "the request's parameters are larger than 1 MiB" if data.bytesize > PARAMS_MOST
        end
      end
      raise Gone
    end

    def refuse(kind, request)
      finish(request, CANT_MPX_CONN) if kind == BEGIN_REQUEST
    end

    def management(kind, content)
      return write(Connection.record(UNKNOWN, 0, [kind].pack("Cx7"))) if kind != GET_VALUES
      answer = "".b
      Connection.pairs(content).each_key do |name|
        value = KNOWN[name] or next
        answer << [name.bytesize, value.bytesize].pack("CC") << name << value
      end
      write(Connection.record(GET_VALUES_RESULT, 0, answer))
    end
  end

  # One request and its answer. What is written is held until flush, or there is much of it.
  class Exchange
    HELD_MOST = 65_536
    attr_reader :variables

    def initialize(connection, request, keep, variables)
      @connection, @request, @keep, @variables = connection, request, keep, variables
      @out = "".b
      @body_ended = @began = false
    end

    def keep? = @keep
    # Whether something has been sent.
    def began? = @began

    def read
      return nil if @body_ended
      piece = @connection.body(@request)
      @body_ended = piece.nil?
      piece
    end

    def write(data)
      @out << data.b
      flush if @out.bytesize > HELD_MOST
    end

    # What is held is not to be sent.
    def forget
      @out = "".b
    end

    def flush
      return if @out.empty?
      @began = true
      @connection.write(Connection.record(Connection::STDOUT, @request, @out))
      @out = "".b
    end

    def finish
      tail = Connection.record(Connection::STDOUT, @request) +
             Connection.record(Connection::FINISH, @request, [0, 0].pack("NCx3"))
      tail = Connection.record(Connection::STDOUT, @request, @out) + tail unless @out.empty?
      @out = "".b
      @connection.write(tail)
      # What the application has not read is not in the way of the next request.
      read until !@keep || @body_ended
    end
  end
end
