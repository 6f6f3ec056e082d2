package reactor

// A Layer stands between a socket and its handler. It belongs to one Conn and
// is called on its loop. What it has for the peer it gives to Conn.SendSealed,
// from within any of its methods.
type Layer interface {
	// Open appends to dst what the bytes of the wire hold for the handler, all
	// of it, and keeps what is incomplete. sealed is valid during the call; the
	// first one of a connection is empty and asks for what came before. last
	// says that the wire has ended, which is an error within something that is
	// incomplete. eof is the peer's end of stream. What was opened before an
	// error is offered.
	Open(dst, sealed []byte, last bool) (opened []byte, eof bool, err error)
	// Seal sends p.
	Seal(p []byte)
	// CloseWrite sends the end of our stream, once.
	CloseWrite()
}

// layer is what a layered connection has beyond others. It is kept by the loop, so that connections
// without one, of which there may be very many, pay nothing for it.
type layer struct {
	Layer
	spoken bool  // CloseWrite was called
	err    error // with flagLayerEOF: why the stream has ended

	// Of a connection that was dialled, until there is a Layer.
	conn       *Conn
	handshakes *Handshakes
	connected  bool
	shaking    bool // a goroutine is at it
	closed     bool
}

// maxOwed is how much output may wait for the peer of a layered connection before it is not read any
// more, whether its handler wants input or not: a layer may answer by itself what it reads, and knows
// nothing of back-pressure. A handler that knows of it keeps far less.
const maxOwed = 256 << 10

// AttachLayered is Attach for a socket that is spoken to through a layer. What
// the layer has in hand is offered soon, and not within the call.
func (l *Loop) AttachLayered(c *Conn, fd int, h Handler, between Layer) error {
	if err := l.begin(c, fd, h, flagOpen|flagWritable|flagReadable|flagLayered|flagSurplus); err != nil {
		return err
	}
	l.layers[c.fd] = &layer{Layer: between}
	c.enqueue()
	return nil
}

// layer is only there while flagLayered is.
func (c *Conn) layer() *layer { return c.loop.layers[c.fd] }

// SendSealed is Send for a Layer: p goes onto the wire as it is.
func (c *Conn) SendSealed(p []byte) { c.sendRaw(p) }

// lastWords ends our stream within the layer.
func (c *Conn) lastWords() {
	if !c.has(flagLayered) || !c.takes() {
		return
	}
	if l := c.layer(); !l.spoken {
		l.spoken = true
		l.CloseWrite()
	}
}

// readLayered is readOnce through the layer.
func (c *Conn) readLayered() bool {
	var sealed []byte
	last := false
	if c.has(flagSurplus) {
		c.flags &^= flagSurplus
	} else {
		n, ok := c.receive(c.loop.scratch)
		if !ok {
			return false
		}
		last = n == 0
		sealed = c.loop.scratch[:n]
	}
	l := c.layer()
	p, eof, err := l.Open(c.loop.opened[:0], sealed, last)
	c.loop.opened = p[:0]
	if len(p) > 0 && c.has(flagOpen) {
		c.offerOpened(p)
	}
	if eof || last || err != nil {
		// Told in the next round: the offer may have to be repeated first.
		l.err = err
		c.flags |= flagLayerEOF
	}
	return c.has(flagOpen)
}

// layerEnded tells the handler that the stream within the layer is over.
func (c *Conn) layerEnded() {
	if err := c.layer().err; err != nil {
		c.fail(err)
		return
	}
	c.ended()
}

// offerOpened offers p behind the input in hand.
func (c *Conn) offerOpened(p []byte) {
	if c.in != nil {
		c.in = c.loop.pool.reserve(c.in, len(p))
		c.in.data = append(c.in.data, p...)
		c.offer()
		return
	}
	c.offerNew(p)
}
