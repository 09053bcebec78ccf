<?php
/*
 * Sessions for processes that share no disk: the session's data travels in a cookie, signed with the
 * key in HUTCH_SESSION_KEY (one of the app's secrets). php.ini has this file run before every script;
 * without a key PHP's own handler stays. Clients can read their session, as with Flask's cookies, and
 * cannot change it. What does not fit into a cookie (about 3 KiB) is not kept, and the log says so.
 */
(static function (): void {
    $key = getenv('HUTCH_SESSION_KEY');
    if ($key === false || $key === '') {
        return;
    }
    session_set_save_handler(new class($key) implements SessionHandlerInterface, SessionUpdateTimestampHandlerInterface {
        private const MOST = 3800;
        private string $cookie = 'PHPSESSDATA';

        public function __construct(private readonly string $key)
        {
        }

        public function open(string $path, string $name): bool
        {
            $this->cookie = $name . 'DATA';
            return true;
        }

        public function close(): bool
        {
            return true;
        }

        private function sign(string $id, string $time, string $data): string
        {
            return hash_hmac('sha256', "$id.$time.$data", $this->key);
        }

        /** The data of this session, or null: none, of another one, too old, or not ours. */
        private function load(string $id): ?string
        {
            $parts = explode('.', (string) ($_COOKIE[$this->cookie] ?? ''));
            if (count($parts) !== 3 || !hash_equals($this->sign($id, $parts[0], $parts[1]), $parts[2])) {
                return null;
            }
            if ((int) $parts[0] + (int) ini_get('session.gc_maxlifetime') < time()) {
                return null;
            }
            $data = base64_decode(strtr($parts[1], '-_', '+/'), true);
            return $data === false ? null : $data;
        }

        public function read(string $id): string|false
        {
            return $this->load($id) ?? '';
        }

        public function validateId(string $id): bool
        {
            return $this->load($id) !== null;
        }

        private function set(string $value, int $expires = 0): bool
        {
            $options = session_get_cookie_params();
            unset($options['lifetime']);
            return setcookie($this->cookie, $value, ['expires' => $expires, 'httponly' => true] + $options);
        }

        public function write(string $id, string $data): bool
        {
            $text = rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
            $time = (string) time();
            if (strlen($text) > self::MOST) {
                error_log('hutch: a session of ' . strlen($data) . ' bytes does not fit into a cookie');
                return false;
            }
            return $this->set("$time.$text." . $this->sign($id, $time, $text));
        }

        public function updateTimestamp(string $id, string $data): bool
        {
            return $this->write($id, $data);
        }

        public function destroy(string $id): bool
        {
            return $this->set('', 1);
        }

        public function gc(int $seconds): int|false
        {
            return 0;
        }
    }, true);
})();
