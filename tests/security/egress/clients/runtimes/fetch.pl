# SPDX-License-Identifier: Apache-2.0
use strict;
use warnings;
use LWP::UserAgent;

my $answer = LWP::UserAgent->new->get("https://$ENV{HOST}/big", Authorization => "Bearer $ENV{S1}");
print $answer->code, " ", length($answer->content), "\n";
