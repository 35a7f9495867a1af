# mce.pl KIND WORKERS COUNT: the mean time, in seconds, of a task that doubles an integer by
# MCE::Map in so many workers: with its own chunks (`map`), or with chunks of one (`map1`).
use strict;
use warnings;
use MCE::Map;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($kind, $workers, $count) = @ARGV;
my $n = $count < 100000 ? $count : 100000;
my $calls = int($count / $n);
MCE::Map->init(max_workers => $workers, chunk_size => $kind eq "map1" ? 1 : "auto");

# One block, so that the workers stay from call to call.
sub run {
    my ($n) = @_;
    my @results = mce_map { 2 * $_ } 1 .. $n;
    die "a wrong result" unless @results == $n && $results[-1] == 2 * $n;
}

run(int($n / 10) || 1);
my $start = clock_gettime(CLOCK_MONOTONIC);
run($n) for 1 .. $calls;
printf "%.12f\n", (clock_gettime(CLOCK_MONOTONIC) - $start) / ($calls * $n);
