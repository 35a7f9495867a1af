# perl.pl END COUNT: the mean time of a bare fork and wait, in seconds. END is
# how the child leaves: `_exit` at once, or `exit`, as Perl scripts do.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($end, $count) = @ARGV;
my $WARM_UP = 5;

sub start_join {
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        POSIX::_exit(0) if $end eq "_exit";
        exit 0;
    }
    waitpid $pid, 0;
    die "the child failed" if $? != 0;
}

start_join() for 1 .. $WARM_UP;
my $start = clock_gettime(CLOCK_MONOTONIC);
start_join() for 1 .. $count;
printf "%.9f\n", (clock_gettime(CLOCK_MONOTONIC) - $start) / $count;
