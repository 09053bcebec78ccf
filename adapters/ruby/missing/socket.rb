# As openssl.rb: for interpreters without sockets. The numbers are what ipaddr wants.
class SocketError < StandardError; end

class Socket
  AF_INET, AF_INET6 = 2, 10

  def self.const_missing(name)
    raise NotImplementedError, "Socket::#{name}: this Ruby was built without sockets"
  end

  def initialize(*)
    raise NotImplementedError, "this Ruby was built without sockets"
  end
end

class IPSocket
  def self.getaddress(*)
    raise SocketError, "this Ruby was built without sockets"
  end
end
