//go:build !race

package master

const raceFactor = 1
