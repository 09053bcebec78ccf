# config.ru -> the application.
#
# Ruby for WASI unwinds its stack through a buffer of 6 KiB, so a require within a require within the
# block that config.ru is aborts ("unreachable"). What config.ru and its libraries require at their top
# is therefore required here, the innermost first and none within another; then what rack would load
# when it is first named, in the middle of a request.
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

  def self.require_first(config)
    begin
      names = wanted(config, {}, [])
    rescue SystemCallError
      return # whoever loads it says what is wrong
    end
    names.unshift("rack", "rack/builder") if names.include?("rack") || names.any? { |name| name.start_with?("sinatra") }
    names.each do |name|
      require name
    rescue LoadError, StandardError
      next # config.ru says so, if it matters
    end
    require_named
  end

  def self.require_named
    return unless defined?(Rack) && Rack.respond_to?(:release)
    inner = %i[Session Auth Multipart Protection].filter_map { |name| Rack.const_get(name) if Rack.const_defined?(name) }
    files = [Rack, *inner].flat_map { |place| place.constants.filter_map { |name| place.autoload?(name) } }
    files.each do |file|
      require file
    rescue LoadError, StandardError
      next
    end
  end

  def self.build(path)
    begin
      require "rack"
    rescue LoadError
      return Builder.parse(path)
    end
    app = Rack::Builder.parse_file(path)
    app.is_a?(Array) ? app.first : app # Rack 2 gives the options as well
  end

  def self.load(path)
    require_first(path)
    app = build(path)
    app.prototype if app.respond_to?(:prototype) # Sinatra's middleware, made at the first call
    app
  end
end
