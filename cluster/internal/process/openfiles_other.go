//go:build !linux

package process

// setFiles sets the limit of open files. A child is given the one that this process was started with, whatever it is
// now, unless the Go runtime has forgotten that.
var setFiles = setFilesForGood
