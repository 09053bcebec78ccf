-- A million rows and what the shell does besides; the output does not depend on the version.
.bail on
.headers off
.mode list
.separator |
pragma temp_store = memory;
select '== a million rows';
create table facts(id integer primary key, k integer not null, g integer not null, name text, x real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000)
insert into facts
select i, (i * 7919) % 1009, i % 17, printf('%08x', (i * 2654435761) % 4294967296), i / 8.0 from n;
select count(*), sum(id), sum(k), sum(x), min(name), max(name), avg(g) from facts;
select g, count(*), sum(k), max(id) from facts where k between 100 and 300 group by g order by 3 desc, 1;
select count(distinct k), count(distinct substr(name, 1, 3)) from facts;
create index facts_k on facts(k, g);
select count(*), sum(id) from facts where k = 512 and g in (1, 2, 3);
select id, name from facts where name like 'abc%' order by name limit 5;
select a.id, b.id from facts a join facts b on b.id = a.k * 1000 + a.g where a.id % 99991 = 0 order by 1;

select '== a file and transactions';
.open /scratch/test.db
create table t(a integer primary key, b text unique, c blob, check (length(b) < 40));
begin;
insert into t(b, c) values ('one', x'00ff'), ('zwei', zeroblob(4)), ('três', null);
savepoint s;
delete from t;
select count(*) from t;
rollback to s;
commit;
insert or ignore into t(b) values ('one');
insert or replace into t(a, b) values (2, 'two');
select a, b, quote(c), typeof(c) from t order by a;
create table log(what text);
create trigger tr after update on t begin insert into log values (old.b || '>' || new.b); end;
update t set b = upper(b);
select group_concat(what, ',') from log;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into t(b) select printf('row %05d', i) from n;
delete from t where a % 3 = 0;
vacuum;
.open /scratch/test.db
select count(*), sum(a), min(b), max(b) from t;

select '== windows and recursion';
create temp table s(day text, n integer);
insert into s values ('2024-02-27', 5), ('2024-02-28', 7), ('2024-02-29', 1), ('2024-03-01', 9), ('2024-03-02', 3);
select day, n, sum(n) over (order by day), rank() over (order by n desc),
       lag(n, 1, 0) over (order by day), avg(n) over (order by day rows between 1 preceding and 1 following)
from s order by day;
with recursive mandel(cx, cy, x, y, i) as (
  select c.value, r.value, 0.0, 0.0, 0 from (select -2.0 + 0.25 * a as value from (with recursive q(a) as (select 0 union all select a + 1 from q where a < 11) select a from q)) c,
    (select -1.0 + 0.25 * b as value from (with recursive q(b) as (select 0 union all select b + 1 from q where b < 8) select b from q)) r
  union all
  select cx, cy, x * x - y * y + cx, 2.0 * x * y + cy, i + 1 from mandel where x * x + y * y < 4.0 and i < 28)
select cy, group_concat(substr(' .+*#', 1 + min(m / 7, 4), 1), '') from (
  select cx, cy, max(i) as m from mandel group by cy, cx order by cy, cx) group by cy;

select '== functions';
select date('2024-02-29', '+1 year'), julianday('2024-02-29 12:00'), strftime('%w %j %s', '2024-02-29'),
       time('23:59:59', '+2 seconds');
select round(2.5), 7 / 2, -7 % 3, 7.0 / 2, 9223372036854775807, 1e300 * 1e10, abs(-5), hex('A'), unicode('é');
select replace('a.b.c', '.', '-'), instr('hello', 'l'), trim('  x '), substr('hello', -3, 2), 'Ä' = 'ä' collate nocase;
select cast('12abc' as integer), typeof(1 / 2.0), coalesce(null, 2), nullif(1, 1) is null, 'x' glob '[a-y]';
select count(*) from sqlite_master;
.quit
