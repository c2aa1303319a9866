# SPDX-License-Identifier: Apache-2.0
require "net/http"

answer = Net::HTTP.get_response(URI("https://#{ENV["HOST"]}/big"),
                                { "Authorization" => "Bearer #{ENV["S1"]}" })
puts "#{answer.code} #{answer.body.bytesize}"
