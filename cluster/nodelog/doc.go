// Package nodelog keeps what nodes print, and prints it.
//
//	Open  opens the log of a node, which Pump fills with whole lines and which is rotated
//	Tail  prints logs, the last lines and what is added, through rotations
//
// It knows nodes by their names only: which there are is said by whoever asks, and whether they run is of no matter.
package nodelog
