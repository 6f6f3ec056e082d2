package process

import "runtime"

// onThread calls do on a thread of its own, which ends with it. That is not the process's first one: its niceness is taken
// for the process's, and it does not end before that.
func onThread(do func()) {
	runtime.LockOSThread()
	if !isFirstThread() {
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(do)
	}()
	<-done
	runtime.UnlockOSThread()
}
