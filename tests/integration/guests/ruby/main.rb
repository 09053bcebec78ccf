# frozen_string_literal: true

# What Ruby does most, with output that no version or platform changes: nothing depends on how
# a hash or an error is inspected, floats are only added, multiplied and rooted.
# Arguments: the directory with the data, a directory to write in.
require 'bigdecimal'
require 'csv'
require 'date'
require 'digest'
require 'erb'
require 'fileutils'
require 'forwardable'
require 'json'
require 'ostruct'
require 'set'
require 'stringio'
require 'strscan'
require 'time'
require 'tsort'

Encoding.default_external = Encoding::UTF_8
DATA_DIR, SCRATCH = ARGV

def section(name)
  puts "== #{name}"
end

def show(*values)
  puts values.map { |v| v.is_a?(String) ? v : JSON.generate(v) }.join(' ')
end

section 'files and json'
records = JSON.parse(File.read("#{DATA_DIR}/records.json", encoding: 'UTF-8'), symbolize_names: true)
show records.size, records.first, records.sum { |r| r[:score] }
records.group_by { |r| r[:city] }.sort.each do |city, group|
  show city, group.size, group.map { |r| r[:score] }.minmax
end
FileUtils.mkdir_p("#{SCRATCH}/deep/er")
copy = "#{SCRATCH}/deep/er/copy.json"
File.write(copy, JSON.pretty_generate(records))
show File.size(copy), Digest::SHA256.file(copy).hexdigest
show JSON.parse(File.read(copy), symbolize_names: true) == records
File.rename(copy, "#{SCRATCH}/moved.json")
File.open("#{SCRATCH}/moved.json", 'r+b') do |f|
  f.seek(-12, IO::SEEK_END)
  show f.read.bytes
  f.truncate(100)
  f.rewind
  f.write('#')
end
show File.size("#{SCRATCH}/moved.json"), File.read("#{SCRATCH}/moved.json")[0, 3].bytes
File.delete("#{SCRATCH}/moved.json")
FileUtils.rm_rf("#{SCRATCH}/deep")
show Dir.children(SCRATCH), Dir.glob("#{DATA_DIR}/tree/**/*").map { |p| p.delete_prefix(DATA_DIR) }.sort
begin
  File.read("#{DATA_DIR}/missing")
rescue SystemCallError => e
  show e.class.name
end

section 'regular expressions'
pattern = %r{\A(?<ip>[\d.]+) \S+ \S+ \[(?<when>[^\]]+)\] "(?<verb>[A-Z]+) (?<path>[^" ?]+)(?:\?[^" ]*)? HTTP/[\d.]+" (?<status>\d{3}) (?<size>\d+)\z}
hits = Hash.new(0)
sizes = Hash.new(0)
days = Hash.new(0)
File.foreach("#{DATA_DIR}/access.log", chomp: true) do |line|
  m = pattern.match(line) or next show('no match', line)
  hits["#{m[:verb]} #{m[:status]}"] += 1
  sizes[m[:path]] += m[:size].to_i
  days[DateTime.strptime(m[:when], '%d/%b/%Y:%H:%M:%S %z').strftime('%A')] += 1
end
show hits.sort, sizes.sort_by { |path, size| [-size, path] }, days.sort
show 'one two three four'.gsub(/(\w+) (\w+)/, '\2-\1'), 'a, b;c,d;  e'.split(/[,;]\s*/)
show 'Köln schön öde Ort'.scan(/\p{L}*ö\p{L}*/i), '1234567890'.gsub(/(?<=\d)(?=(\d{3})+$)/, ',')
scanner = StringScanner.new('let x = 42 + (y - 7)')
tokens = []
until scanner.eos?
  scanner.skip(/\s+/)
  tokens << (scanner.scan(/\d+/) || scanner.scan(/\w+/) || scanner.getch)
end
show tokens

section 'numbers'
show (1..200).inject(:*).to_s, 3.pow(10**6, 10**50 + 151).to_s, (2**521 - 1).to_s(36)
show (7**333).divmod(5**200).map(&:to_s), (2**200 - 1).gcd(2**120 - 1).to_s, Integer.sqrt(10**60).to_s
a, b = 0, 1
3000.times { a, b = b, a + b }
show Digest::SHA1.hexdigest(a.to_s), a.bit_length, a.digits.sum
show BigDecimal(2).sqrt(50).round(40).to_s, (1..60).sum { |n| Rational(1, n) }.to_s, Complex(1, 2)**3 == Complex(-11, -2)
show 0.1 + 0.2, Math.sqrt(2), -0.0, 1e23, 5e-324, 2.675.round(2), 10.0.divmod(-3), -7 / 2, -7 % 3
sieve = Array.new(100_001, true)
(2..316).each { |i| (i * i).step(100_000, i) { |j| sieve[j] = false } if sieve[i] }
show sieve.count(true) - 2
show [1, 65_535, -2, 2**62, 1.5].pack('CnlqE').unpack1('H*'), ['deadbeef'].pack('H*').unpack('N')

section 'objects and sorting'
Version = Struct.new(:major, :minor, keyword_init: true) do
  include Comparable

  def <=>(other)
    [major, minor] <=> [other.major, other.minor]
  end

  def to_s
    "#{major}.#{minor}"
  end
end
versions = [[3, 1], [2, 9], [3, 0], [1, 10]].map { |m, n| Version.new(major: m, minor: n) }
show versions.sort.map(&:to_s), versions.max.to_s, versions[0].between?(versions[1], versions[0])
show records.sort_by { |r| [-r[:score], r[:name], r[:id]] }.first(5).map { |r| r.values_at(:id, :name, :score) }
show records.map { |r| r[:name] }.tally.sort, records.partition { |r| r[:active] }.map(&:size)
show records.each_slice(50).map { |s| s.sum { |r| r[:ratio] } }, (1..10).each_cons(3).map(&:sum)

class Stack
  extend Forwardable
  include Enumerable
  def_delegators :@items, :push, :pop, :size
  def initialize(*items)
    @items = items
  end

  def each(&block)
    @items.each(&block)
    self
  end

  def method_missing(name, *args)
    name.end_with?('!') ? "missing #{name}#{args.size}" : super
  end

  def respond_to_missing?(name, _private = false)
    name.end_with?('!')
  end
end
stack = Stack.new(5, 3, 9)
stack.push(1)
show stack.sort, stack.include?(9), stack.min_by { |n| (n - 4).abs }, stack.boo!(1, 2), stack.reduce(:+)
begin
  stack.nothing
rescue NoMethodError => e
  show e.class.name, e.name
end

class Graph
  include TSort
  def initialize(edges)
    @edges = edges
  end

  def tsort_each_node(&block)
    @edges.each_key(&block)
  end

  def tsort_each_child(node, &block)
    @edges.fetch(node, []).each(&block)
  end
end
show Graph.new('app' => %w[db web], 'web' => ['net'], 'db' => ['net'], 'net' => []).tsort
config = { name: 'x', size: { w: 3, h: [1, 2, 3] } }
case config
in { name: String => name, size: { w: Integer => w, h: [first, *rest] } }
  show name, w, first, rest
end
show Set[1, 2, 3].superset?(Set[1, 3]), (Set[1, 2] ^ Set[2, 3]).sort, OpenStruct.new(a: 1).a
show Marshal.load(Marshal.dump([1, 'two', :three, 4.5, 2**80, nil, { 'k' => [true] }])) == [1, 'two', :three, 4.5, 2**80, nil, { 'k' => [true] }]

section 'exceptions and generators'
show Enumerator.new { |y| a, b = 0, 1; loop { y << a; a, b = b, a + b } }.lazy.select(&:even?).first(8)
external = Enumerator.new { |y| 3.times { |i| y.yield i, i * i } }
show external.next, external.next, external.peek, external.next
begin
  external.next
rescue StopIteration
  show 'StopIteration'
end
fiber = Fiber.new do |x|
  x = Fiber.yield(x * 2) while x < 50
  :finished
end
show fiber.resume(3), fiber.resume(20), fiber.resume(60).to_s, fiber.alive?
class Problem < StandardError; end
log = []
begin
  begin
    raise ArgumentError, 'inner'
  rescue ArgumentError => e
    raise Problem, 'outer'
  ensure
    log << 'ensured'
  end
rescue Problem => e
  log << e.message << e.cause.message << e.cause.class.name
end
tries = 0
begin
  tries += 1
  raise 'again' if tries < 3

  log << "tries #{tries}"
rescue RuntimeError
  retry
end
show log, catch(:found) { 10.times { |i| 10.times { |j| throw :found, [i, j] if i * j == 42 } } }
deep = ->(n) { n.zero? ? 0 : 1 + deep.(n - 1) }
show deep.(500), [1, 2, 3].each_with_object([]).with_index { |(n, acc), i| acc << n * i }
def twice
  [yield, yield]
end
counter = 0
show twice { counter += 1 }

section 'dates'
day = Date.new(2024, 2, 29)
show day.iso8601, day.cweek, day.jd, day.strftime('%a %d %b %Y'), (day >> 12).to_s, (Date.new(2100, 3, 1) - day).to_i
t = Time.utc(2024, 2, 29, 23, 59, 59)
show t.to_i, (t + 1).iso8601, t.yday, Time.parse('2023-11-05T01:30:00+05:30').utc.iso8601, Date.valid_date?(2023, 2, 29)

section 'text and formats'
people = CSV.read("#{DATA_DIR}/people.csv", headers: true, encoding: 'UTF-8')
show people.size, people[3].fields, people.max_by { |p| p['height'].to_f }['born']
show ERB.new("<% 3.times do |i| %><%= i %>,<% end %>\n", trim_mode: '%').result.strip
show format('%05d|%-8s|%08.3f|%x|%b|%+d|%e', 42, 'left', 3.14159, 255, 5, 7, 12345.678), 'straße'.upcase
show '東京'.encode('UTF-16LE').bytes, 'Łódź'.unicode_normalize(:nfd).bytes.size, "caf\u00e9".bytes.size, 'abc'.succ, 'az'.next
blob = (0..255).to_a.pack('C*') * 300
show Digest::MD5.hexdigest(blob), Digest::SHA512.hexdigest(blob)[0, 32], [blob[0, 12]].pack('m0')
show <<~HEREDOC.lines.map(&:chomp), 'hello world'.tr('lo', '01'), 'mississippi'.squeeze.chars.uniq.size
  indented
    text
HEREDOC
words = Array.new(20_000) { |i| ((i * 7919) % 10_007).to_s(36) }
show words.sort.uniq.size, words.max_by { |s| [s.size, s] }, words.sum(&:size), words.sort_by(&:reverse)[777]
show 'done'
