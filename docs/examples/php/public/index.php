<?php
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
header('Content-Type: application/json');
echo json_encode([
    'visits' => $_SESSION['visits'],
    'path' => $_SERVER['PATH_INFO'] ?? '',
    'method' => $_SERVER['REQUEST_METHOD'],
]), "\n";
