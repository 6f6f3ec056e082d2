// Package process starts processes and ends them, each with everything that it has started.
//
//	Launcher    starts programs
//	Process     is one life of a program: it can be signalled, asked to end, and waited for
//	Cage        is the cgroups that processes begin in where this one may make them
//	EndOrphans  ends what a launcher has left that was killed
//
// A process leads a group, which ends with it. On Linux, what has left the group is found by its environment and ended as
// well, and what hides even from that has become this process's child and ends with the launcher. A cage lets nothing
// get out by forking.
//
// What the processes are for is of no matter here.
package process
