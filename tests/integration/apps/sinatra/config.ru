require "sinatra/base"
require "securerandom"

class Site < Sinatra::Base
  set :environment, :production
  get("/") { "hello\n" }
  get("/hello/:who") { "Hello, #{params[:who]}\n" }
  post("/sum") { "#{params[:a].to_i + params[:b].to_i}\n" }
  get("/random") { "#{rand(1 << 60)} #{SecureRandom.hex(8)}\n" }
end

run Site
