package shop

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// ScribbleBlock is the size of the blocks that Scribble writes, in bytes.
const ScribbleBlock = 4096

// Scribble overwrites random blocks of a raw disk for ever, so that captures have something to catch. Each block holds
// its write number, its offset, random bytes, and a CRC-32C over all that in its last four bytes. Writes are synchronous,
// so that at any instant all writes before some number are on the disk, and none after the next one.
func Scribble(ctx context.Context, path string, interval time.Duration) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size < ScribbleBlock {
		return fmt.Errorf("%s: smaller than a block", path)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	random := rand.NewChaCha8([32]byte{1})
	block := make([]byte, ScribbleBlock)
	for n := uint64(1); ; n++ {
		off := int64(random.Uint64()%uint64(size/ScribbleBlock)) * ScribbleBlock
		binary.BigEndian.PutUint64(block, n)
		binary.BigEndian.PutUint64(block[8:], uint64(off))
		random.Read(block[16 : ScribbleBlock-4])
		binary.BigEndian.PutUint32(block[ScribbleBlock-4:], crc32.Checksum(block[:ScribbleBlock-4], table))
		if _, err := f.WriteAt(block, off); err != nil {
			return fmt.Errorf("write block %d: %w", n, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}
