# parallel.pl OPTION... COUNT: the mean time of 1 MiB of lines that two programs write and GNU parallel gives out with
# those options, in seconds, its start included.
use strict;
use warnings;
use File::Temp qw(tempfile);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $count = pop @ARGV;
my ($file, $path) = tempfile(UNLINK => 1);
print $file ((("x" x 63) . "\n") x (1 << 14));
close $file;
my $half = $count / 2;
my $start = clock_gettime(CLOCK_MONOTONIC);
open my $lines, "-|", qw(parallel --will-cite -j 2), @ARGV, "cat" . (" $path" x $half) . " #", ":::", 1, 2
    or die "parallel: $!";
my ($total, $bytes) = (0);
$total += length $bytes while read $lines, $bytes, 1 << 20;
die "parallel failed" unless close $lines and $total >= $count * (1 << 20);
printf "%.9f\n", (clock_gettime(CLOCK_MONOTONIC) - $start) / $count;
