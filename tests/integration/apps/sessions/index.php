<?php
// PHP's own sessions, in files of a persistent volume.
ini_set('session.save_handler', 'files');
ini_set('session.save_path', '/sessions');
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
file_put_contents('/sessions/log', "x\n", FILE_APPEND | LOCK_EX);
echo $_SESSION['visits'], ' ', filesize('/sessions/log');
