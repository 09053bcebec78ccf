# For interpreters that were built without OpenSSL: libraries which only name it can be loaded
# (Sinatra's encrypted cookies); using it says what is missing. Found last, so a real one wins.
module OpenSSL
  class OpenSSLError < StandardError; end

  def self.const_missing(name)
    raise NotImplementedError, "OpenSSL::#{name}: this Ruby was built without OpenSSL"
  end
end
