# What must not be the same in two processes that go on from one snapshot: the generators of random
# numbers. Random.urandom, SecureRandom and Random.new ask the system each time and need nothing. The
# one behind rand and shuffle gets a new seed before each request, and so do those that the
# application has made without a seed of its own. The hash of strings stays what it was.
module HutchRack
  module Fresh
    GENERATORS = ObjectSpace::WeakMap.new

    # Remembers the generators without a seed of their own, from now on.
    module New
      def new(*seed)
        generator = super
        GENERATORS[generator] = true if seed.empty?
        generator
      end
    end

    def self.before_request
      srand
      GENERATORS.each_key { |generator| generator.send(:initialize, Random.new_seed) } if GENERATORS.size > 0
    end
  end
end

Random.singleton_class.prepend(HutchRack::Fresh::New)
