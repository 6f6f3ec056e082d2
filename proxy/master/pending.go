package master

import "sync"

// pending is a set of workers that something is awaited from. The zero value is empty.
type pending struct {
	mu    sync.Mutex
	left  map[int]bool
	empty chan struct{} // closed when left is empty; nil before anybody was added
}

// add awaits worker i.
func (p *pending) add(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.left) == 0 {
		p.left = make(map[int]bool)
		p.empty = make(chan struct{})
	}
	p.left[i] = true
}

// done awaits worker i no longer. It may be called for one that is not awaited.
func (p *pending) done(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.left[i] {
		return
	}
	if delete(p.left, i); len(p.left) == 0 {
		close(p.empty)
	}
}

// none is closed when all that were added so far are done.
func (p *pending) none() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.empty == nil {
		p.empty = make(chan struct{})
		close(p.empty)
	}
	return p.empty
}
