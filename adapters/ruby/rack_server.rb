# Serves a Rack application under `hutch serve` (interface: fastcgi), without a change to it.
#
#   ruby rack_server.rb [config.ru]
#
# Ruby for WASI has no sockets. Opening /dev/hutch/accept accepts the next connection (docs/wasi.md); where
# there is no such file, descriptor 0 is a listening socket as FastCGI has it. One request at a time.
#
#   hutch_rack/load.rb      config.ru -> the application
#   hutch_rack/builder.rb   config.ru where there is no rack gem
#   hutch_rack/fastcgi.rb   a connection -> exchanges
#   hutch_rack/call.rb      an exchange and the application -> an answer
#   hutch_rack/fresh.rb     what must be new in each process although it was initialised before a snapshot
#   missing/                libraries that a Ruby without OpenSSL, zlib, sockets can load all the same
GC.disable # while it loads; see below

require "stringio"

$LOAD_PATH.push(File.join(__dir__, "missing")) if RUBY_PLATFORM.include?("wasi")
$LOAD_PATH.unshift(__dir__)
require "hutch_rack/fresh"
require "hutch_rack/fastcgi"
require "hutch_rack/builder"
require "hutch_rack/load"
require "hutch_rack/call"
$LOAD_PATH.shift

$0 = "rack"

module HutchRack
  DEVICE = "/dev/hutch/accept"

  def self.acceptor
    return -> { File.open(DEVICE, "r+") } if File.exist?(DEVICE)
    require "socket"
    require "io/wait"
    listener = Socket.for_fd(0)
    -> { listener.accept.first }
  end

  # Collecting garbage looks through the whole stack, for which Ruby for WASI has a few KiB: it is done
  # between requests, where the stack is short.
  GROWTH_MOST = 32 << 20

  def self.collect
    return unless GC.stat(:malloc_increase_bytes) > GROWTH_MOST || GC.stat(:heap_live_slots) > @live + 400_000
    GC.enable
    GC.start
    GC.disable
    @live = GC.stat(:heap_live_slots)
  end

  def self.serve(connection, app)
    while (exchange = connection.next_exchange)
      Fresh.before_request
      break unless call(app, exchange) && exchange.keep?
    end
  rescue Gone, ProtocolError => error
    $stderr.write("hutch: a request was dropped: #{error.is_a?(Gone) ? 'the client has gone' : error.message}\n")
  end

  def self.run(app)
    accept = acceptor
    GC.enable
    GC.start
    GC.disable
    @live = GC.stat(:heap_live_slots)
    while true
      io = accept.call
      serve(Connection.new(io), app)
      begin
        io.close
      rescue SystemCallError
        nil
      end
      collect
    end
  end
end

HutchRack.run(HutchRack.load(ARGV[0] || "config.ru"))
