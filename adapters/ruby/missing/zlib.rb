# As openssl.rb: for interpreters without zlib.
module Zlib
  class Error < StandardError; end

  def self.const_missing(name)
    raise NotImplementedError, "Zlib::#{name}: this Ruby was built without zlib"
  end
end
