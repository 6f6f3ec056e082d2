//go:build !linux

package pages

// remap is not possible here.
func remap([]byte, int) (grown []byte, ok bool) { return nil, false }
