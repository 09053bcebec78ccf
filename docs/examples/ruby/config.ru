run lambda { |env|
  [200, { "content-type" => "text/plain" }, ["Hello, #{env['QUERY_STRING']}\n"]]
}
