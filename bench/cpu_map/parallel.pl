# parallel.pl KIND COUNT: the mean time, in seconds, of a task of row 19 by GNU parallel, two at a
# time, each in a lua5.4 of its own.
use strict;
use warnings;
use File::Basename qw(dirname);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($kind, $count) = @ARGV;
my $tasks = dirname($0) . "/tasks.lua";
my $start = clock_gettime(CLOCK_MONOTONIC);
system(qw(parallel --will-cite -j 2 lua5.4), $tasks, $kind, ":::", 1 .. $count) == 0 or die "parallel failed";
printf "%.12f\n", (clock_gettime(CLOCK_MONOTONIC) - $start) / $count;
