// Package lanswitch is a learning Ethernet switch for QEMU machines without privileges: its ports are connections to
// one unix socket, as QEMU's `-netdev stream` makes them. Each frame is preceded by its length, 4 bytes big-endian.
//
// A frame to a known address goes to that port only; others go to every port but the one they came from. A port that
// does not keep up loses frames, as on a real switch, and never slows the others.
package lanswitch

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
)

const (
	// maxFrame is the largest frame that QEMU sends, in bytes (its NET_BUFSIZE: 64 KiB of offloaded segment and headers).
	maxFrame = 4096 + 65536
	minFrame = 14 // two addresses and a type
	// queueLen bounds the frames waiting for one port.
	queueLen = 512
	// maxAddresses bounds what a guest that invents addresses can make the switch remember.
	maxAddresses = 4096
)

type mac [6]byte

// Switch connects ports. The zero value is ready for use.
type Switch struct {
	Logger *slog.Logger

	mu        sync.Mutex
	ports     map[*port]struct{}
	addresses map[mac]*port
	changed   chan struct{} // closed and replaced when the number of ports changes
}

type port struct {
	conn    net.Conn
	queue   chan []byte
	dropped uint64
}

// Ports returns the number of ports and a channel that is closed when it changes.
func (s *Switch) Ports() (int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return len(s.ports), s.changed
}

func (s *Switch) setPort(p *port, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports == nil {
		s.ports, s.addresses = map[*port]struct{}{}, map[mac]*port{}
	}
	if present {
		s.ports[p] = struct{}{}
	} else {
		delete(s.ports, p)
		for a, q := range s.addresses {
			if q == p {
				delete(s.addresses, a)
			}
		}
		close(p.queue)
	}
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

// Serve carries the frames of one port until its connection ends, and closes it.
func (s *Switch) Serve(conn net.Conn) {
	p := &port{conn: conn, queue: make(chan []byte, queueLen)}
	s.setPort(p, true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for frame := range p.queue {
			if _, err := conn.Write(frame); err != nil {
				_ = conn.Close() // ends the reader, which ends the queue
			}
		}
	})
	err := s.read(p)
	_ = conn.Close()
	s.setPort(p, false)
	wg.Wait()
	if s.Logger != nil {
		s.Logger.Info("port closed", "reason", err, "dropped", p.dropped)
	}
}

func (s *Switch) read(p *port) error {
	r := bufio.NewReaderSize(p.conn, maxFrame)
	var head [4]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxFrame {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		frame := make([]byte, 4+n)
		copy(frame, head[:])
		if _, err := io.ReadFull(r, frame[4:]); err != nil {
			return err
		}
		if n >= minFrame {
			s.forward(p, frame)
		}
	}
}

// forward passes a frame with its length on. The frame is not changed any more.
func (s *Switch) forward(from *port, frame []byte) {
	to, source := mac(frame[4:10]), mac(frame[10:16])
	s.mu.Lock()
	defer s.mu.Unlock()
	if source[0]&1 == 0 {
		if _, known := s.addresses[source]; known || len(s.addresses) < maxAddresses {
			s.addresses[source] = from
		}
	}
	if p := s.addresses[to]; p != nil && to[0]&1 == 0 {
		if p != from {
			p.send(frame)
		}
		return
	}
	for p := range s.ports {
		if p != from {
			p.send(frame)
		}
	}
}

// send queues a frame; the caller holds the switch's lock, which also guards dropped and the closing of the queue.
func (p *port) send(frame []byte) {
	select {
	case p.queue <- frame:
	default:
		p.dropped++
	}
}
