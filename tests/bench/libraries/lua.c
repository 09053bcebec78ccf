/* Lua: a program of closures, tables, strings and a sort is compiled and run. */
#include "tests/bench/kernels/kernel.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static const char program[] =
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
    "local total = fib(22)\n"
    "local primes, sieve = {}, {}\n"
    "for i = 2, 20000 do\n"
    "  if not sieve[i] then primes[#primes + 1] = i for j = i * i, 20000, i do sieve[j] = true "
    "end end\n"
    "end\n"
    "local Point = {} Point.__index = Point\n"
    "Point.__add = function(a, b) return setmetatable({x = a.x + b.x, y = a.y + b.y}, Point) "
    "end\n"
    "local p = setmetatable({x = 0, y = 0}, Point)\n"
    "for i = 1, 20000 do p = p + setmetatable({x = i, y = -i * 0.5}, Point) end\n"
    "local words = {}\n"
    "for i = 1, 4000 do words[i] = string.format('%05d', i * 7919 % 100003) end\n"
    "table.sort(words, function(a, b) return a > b end)\n"
    "local counts = {}\n"
    "for word in table.concat(words, ' '):gmatch('%d%d') do counts[word] = (counts[word] or 0) "
    "+ 1 end\n"
    "local text = words[17]:rep(3, '-'):gsub('%d', function(d) return d + 1 end)\n"
    "return string.format('%d %d %d %.1f %d %s', total, #primes, p.x, p.y, counts['42'] or 0, "
    "text)\n";

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    lua_State *lua = luaL_newstate();
    if (!lua) abort();
    static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},
                                         {LUA_STRLIBNAME, luaopen_string},
                                         {LUA_TABLIBNAME, luaopen_table},
                                         {LUA_MATHLIBNAME, luaopen_math}};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    if (luaL_dostring(lua, program) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        abort();
    }
    uint64_t sum = 0;
    for (const char *p = lua_tostring(lua, -1); *p; p++) sum = kernel_mix(sum, (uint8_t)*p);
    lua_close(lua);
    return sum;
}
