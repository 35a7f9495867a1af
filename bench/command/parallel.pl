# parallel.pl COUNT: the mean time of an external program by GNU parallel, one at a time, in
# seconds, from the first one's output on, so that parallel's own start is not counted.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($count) = @ARGV;
open my $lines, "-|", qw(parallel --will-cite -u -j 1 /bin/echo :::), 0 .. $count or die "parallel: $!";
<$lines>;
my $start = clock_gettime(CLOCK_MONOTONIC);
my $n = 0;
$n++ while <$lines>;
die "parallel failed" unless close $lines and $n == $count;
printf "%.9f\n", (clock_gettime(CLOCK_MONOTONIC) - $start) / $count;
