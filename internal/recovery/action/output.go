package action

import (
	"strings"
	"sync"
)

// keep is how much of a program's output is kept, in bytes.
const keep = 64 << 10

// A Buffer keeps the last of what is written to it. It may be written by many goroutines at once.
type Buffer struct {
	mu   sync.Mutex
	data []byte
	cut  bool
}

// Write implements io.Writer; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	if len(b.data) > 2*keep {
		b.data = append(b.data[:0], b.data[len(b.data)-keep:]...)
		b.cut = true
	}
	return len(p), nil
}

func (b *Buffer) kept() (data []byte, cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]byte(nil), b.data...), b.cut
}

// LastLine is the last line of text that is not empty.
func LastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndex(text, "\n")+1:])
}
