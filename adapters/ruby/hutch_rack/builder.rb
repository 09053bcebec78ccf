# config.ru for plain Rack applications, where there is no rack gem.
module HutchRack
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
end
