<?php
// What PHP does most, with output that no version, platform or width of int changes: integers
// stay below 2^31, floats are only added, multiplied and rooted.
// Arguments: the directory with the data, a directory to write in.
declare(strict_types=1);
error_reporting(E_ALL);
ini_set('display_errors', '1');
ini_set('html_errors', '0');
date_default_timezone_set('UTC');

[$data, $scratch] = array_slice($_SERVER['argv'], 1, 2);

function section(string $name): void
{
    echo "== $name\n";
}

function show(mixed ...$values): void
{
    echo implode(' ', array_map(
        fn($v) => is_string($v) ? $v : json_encode($v, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES),
        $values)), "\n";
}

function walk(string $dir, string $prefix = ''): Generator
{
    $names = array_diff(scandir($dir), ['.', '..']);
    sort($names);
    foreach ($names as $name) {
        yield $prefix . $name;
        if (is_dir("$dir/$name")) {
            yield from walk("$dir/$name", "$prefix$name/");
        }
    }
}

section('files and json');
$records = json_decode(file_get_contents("$data/records.json"), true, 16, JSON_THROW_ON_ERROR);
show(count($records), $records[0], array_sum(array_column($records, 'score')));
$cities = [];
foreach ($records as $record) {
    $cities[$record['city']][] = $record['score'];
}
ksort($cities, SORT_STRING);
foreach ($cities as $city => $scores) {
    show($city, count($scores), max($scores), intdiv(array_sum($scores), count($scores)));
}
foreach (walk("$data/tree") as $path) {
    show($path);
}
mkdir("$scratch/deep/er", 0777, true);
$copy = "$scratch/deep/er/copy.json";
file_put_contents($copy, json_encode($records, JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE));
show(filesize($copy), sha1_file($copy), json_decode(file_get_contents($copy), true) === $records);
rename($copy, "$scratch/moved.json");
$f = fopen("$scratch/moved.json", 'r+');
fseek($f, -9, SEEK_END);
$tail = fread($f, 9);
ftruncate($f, 100);
rewind($f);
fwrite($f, '#');
fclose($f);
clearstatcache();
show(bin2hex($tail), filesize("$scratch/moved.json"), substr(file_get_contents("$scratch/moved.json"), 0, 8));
unlink("$scratch/moved.json");
rmdir("$scratch/deep/er");
rmdir("$scratch/deep");
show(iterator_to_array(walk($scratch)), @file_get_contents("$data/missing"), is_file("$data/people.csv"));
$lines = new SplFileObject("$data/people.csv");
$lines->setFlags(SplFileObject::READ_CSV | SplFileObject::SKIP_EMPTY | SplFileObject::READ_AHEAD);
$people = iterator_to_array($lines, false);
show(count($people), $people[0], $people[4]);

section('regular expressions');
$hits = $sizes = $days = [];
foreach (file("$data/access.log", FILE_IGNORE_NEW_LINES) as $line) {
    if (!preg_match('~^(?<ip>[\d.]+) \S+ \S+ \[(?<when>[^\]]+)\] "(?<verb>[A-Z]+) (?<path>[^" ?]+)(?:\?[^" ]*)? HTTP/[\d.]+" (?<status>\d{3}) (?<size>\d+)$~', $line, $m)) {
        show('no match', $line);
        continue;
    }
    $key = "$m[verb] $m[status]";
    $hits[$key] = ($hits[$key] ?? 0) + 1;
    $sizes[$m['path']] = ($sizes[$m['path']] ?? 0) + (int)$m['size'];
    $day = DateTimeImmutable::createFromFormat('d/M/Y:H:i:s O', $m['when'])->format('l');
    $days[$day] = ($days[$day] ?? 0) + 1;
}
ksort($hits);
arsort($sizes);
ksort($days);
show($hits);
show($sizes);
show($days);
show(preg_replace_callback('/\b(\w)(\w*)\b/', fn($m) => strtoupper($m[1]) . strrev($m[2]), 'one two three four'));
show(preg_split('/[,;]\s*/', 'a, b;c,d;  e'), preg_match_all('/\p{L}*ö\p{L}*/iu', 'Köln schön öde Ort', $m), $m[0]);
show(preg_replace('/(?<=\d)(?=(\d{3})+$)/', ',', '1234567890'), preg_quote('a.b*c?'));

section('numbers');
function big_multiply(array $digits, int $factor): array
{
    $carry = 0;
    foreach ($digits as $i => $digit) {
        $value = $digit * $factor + $carry;
        $digits[$i] = $value % 10000;
        $carry = intdiv($value, 10000);
    }
    while ($carry > 0) {
        $digits[] = $carry % 10000;
        $carry = intdiv($carry, 10000);
    }
    return $digits;
}
$digits = [1];
for ($i = 2; $i <= 200; $i++) {
    $digits = big_multiply($digits, $i);
}
$text = ltrim(implode('', array_map(fn($d) => sprintf('%04d', $d), array_reverse($digits))), '0');
show(strlen($text), $text);
$sieve = array_fill(0, 50001, true);
for ($i = 2; $i * $i <= 50000; $i++) {
    if ($sieve[$i]) {
        for ($j = $i * $i; $j <= 50000; $j += $i) {
            $sieve[$j] = false;
        }
    }
}
show(count(array_filter($sieve)) - 2);
show(0.1 + 0.2, sqrt(2), 1 / 3, round(3.14159, 3), number_format(1234567.891, 2), intdiv(-7, 2), -7 % 3, fmod(7.5, 2));
show(base_convert('zzz', 36, 2), dechex(305419896), bindec('101101'), 7 <=> 3, 2 ** 20, PHP_EOL === "\n");
$x = 12345;
$values = [];
for ($i = 0; $i < 2000; $i++) {
    $x = ($x * 75 + 74) % 65537;
    $values[] = $x;
}
show(array_sum($values), min($values), max($values), md5(implode(',', $values)));

section('objects and sorting');
interface Shape
{
    public function area(): float;
}
enum Suit: string
{
    case Hearts = 'H';
    case Spades = 'S';
    public function colour(): string
    {
        return match ($this) {
            self::Hearts => 'red',
            self::Spades => 'black',
        };
    }
}
trait Named
{
    public function name(): string
    {
        return strtolower(static::class);
    }
}
final class Rectangle implements Shape, JsonSerializable
{
    use Named;

    public function __construct(public readonly float $w, public readonly float $h) {}
    public function area(): float
    {
        return $this->w * $this->h;
    }
    public function jsonSerialize(): array
    {
        return ['name' => $this->name(), 'area' => $this->area()];
    }
}
$shapes = array_map(fn($n) => new Rectangle($n, 10.5 - $n), range(1, 6));
usort($shapes, fn(Shape $a, Shape $b) => $b->area() <=> $a->area());
show($shapes, Suit::from('S')->colour(), Suit::tryFrom('X'), array_map(fn($c) => $c->name, Suit::cases()));
usort($records, fn($a, $b) => [$b['score'], $a['name'], $a['id']] <=> [$a['score'], $b['name'], $b['id']]);
show(array_slice(array_map(fn($r) => [$r['id'], $r['name'], $r['score']], $records), 0, 5));
$heap = new SplMinHeap();
foreach ($values as $value) {
    $heap->insert($value);
}
show($heap->extract(), $heap->extract(), count($heap));
$queue = new SplPriorityQueue();
foreach (['low' => 1, 'high' => 9, 'mid' => 5] as $name => $priority) {
    $queue->insert($name, $priority);
}
show($queue->extract(), $queue->extract());
show(unserialize(serialize(['a' => [1, 2.5, null, true], 'b' => new ArrayObject([3])])) == ['a' => [1, 2.5, null, true], 'b' => new ArrayObject([3])]);

section('exceptions and generators');
function countdown(int $n): Generator
{
    try {
        while ($n > 0) {
            $n -= (yield $n) ?? 1;
        }
        return 'liftoff';
    } finally {
        echo "closed\n";
    }
}
$g = countdown(10);
show($g->current(), $g->send(3), $g->send(5));
$g->next();
$g->next();
show($g->valid(), $g->getReturn());
try {
    try {
        throw new DomainException('inner', 7);
    } catch (DomainException $e) {
        throw new RuntimeException('outer', 8, $e);
    } finally {
        show('finally');
    }
} catch (RuntimeException $e) {
    show(get_class($e), $e->getMessage(), $e->getCode(), $e->getPrevious()->getMessage());
}
try {
    show(intdiv(1, 0));
} catch (DivisionByZeroError $e) {
    show($e->getMessage());
}
try {
    (fn(int $n) => $n)('x');
} catch (TypeError) {
    show('TypeError');
}
$depth = function (int $n) use (&$depth): int {
    return $n === 0 ? 0 : 1 + $depth($n - 1);
};
show($depth(5000), array_sum(iterator_to_array((function () { foreach (range(1, 9) as $n) { yield $n * $n; } })())));

section('dates');
$day = new DateTimeImmutable('2024-02-29 23:59:59 UTC');
show($day->format('D, d M Y H:i:s'), $day->modify('+1 second')->format(DATE_ATOM), $day->getTimestamp());
show($day->add(new DateInterval('P1Y2M3DT4H'))->format('c'), $day->diff(new DateTimeImmutable('2100-03-01 UTC'))->days);
$berlin = new DateTimeImmutable('2023-11-05T01:30:00+05:30');
show($berlin->setTimezone(new DateTimeZone('UTC'))->format('c'), date('N W t L', 951782400));
foreach (new DatePeriod($day, new DateInterval('P10D'), 3) as $d) {
    show($d->format('m-d'));
}

section('text and formats');
show(ucwords('hello big world'), wordwrap('The quick brown fox sat over the lazy dog', 15, "\n", true));
show(similar_text('World', 'Word'), levenshtein('kitten', 'sitting'), soundex('Robert'), metaphone('Thompson'));
show(sprintf('%05d|%-8s|%08.3f|%x|%b|%+d|%e', 42, 'left', 3.14159, 255, 5, 7, 12345.678));
show(strtr('Hi all', ['Hi' => 'Hello', 'all' => 'world']), html_entity_decode('&lt;p&gt; &amp; &eacute;'), htmlspecialchars('<a b="c">'));
$blob = str_repeat(implode('', array_map('chr', range(0, 255))), 300);
show(sprintf('%08x', crc32($blob)), md5($blob), hash('sha256', $blob), hash('xxh32', $blob), base64_encode(substr($blob, 0, 12)));
show(explode(',', 'a,b,,c', -1), array_count_values(str_split('mississippi')), str_pad('x', 5, '-=', STR_PAD_BOTH));
ob_start();
echo 'captured';
show(strrev(ob_get_clean()), parse_url('http://user@host:8080/p/a?q=1#f'), http_build_query(['a' => [1, 2], 'b' => 'c d']));
show('done');
