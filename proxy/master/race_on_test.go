//go:build race

package master

// raceFactor is how much more memory may be used under the race detector.
const raceFactor = 6
