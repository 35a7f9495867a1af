# xargs.pl COUNT: the mean time of an external program by xargs, one at a time,
# in seconds; its own start is not counted.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

sub run {
    my ($count) = @_;
    my $start = clock_gettime(CLOCK_MONOTONIC);
    open my $xargs, "|-", "xargs", "-n", "1", "-P", "1", "/bin/true" or die "xargs: $!";
    print $xargs "x\n" x $count;
    close $xargs or die "xargs failed";
    return clock_gettime(CLOCK_MONOTONIC) - $start;
}

my ($count) = @ARGV;
my $once = run(1);
printf "%.9f\n", (run($count + 1) - $once) / $count;
