# The example of two processes that print.
use strict;
use warnings;

sub print_cube   { my ($n) = @_; print "Cube: ",   $n * $n * $n, "\n" }
sub print_square { my ($n) = @_; print "Square: ", $n * $n,      "\n" }

sub start {
    my ($function, @arguments) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $function->(@arguments);
    exit 0;
}

sub join_child {
    my ($pid) = @_;
    waitpid $pid, 0;
    die "the child failed" if $? != 0;
}

my $cube   = start(\&print_cube,   10);
my $square = start(\&print_square, 10);
join_child($cube);
join_child($square);
print "DONE\n";
