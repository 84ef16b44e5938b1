package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

const (
	// fleeceCluster is the cluster size of fleece images, in bytes: the unit in which copy-before-write copies.
	fleeceCluster = 64 << 10
	// fleeceDefault bounds a fleece store where the configuration does not.
	fleeceDefault = 16 << 30
	// fleeceLeast is room for the image's own tables and a little data.
	fleeceLeast = 4 << 20
)

// createFleece writes an empty qcow2 image of the given virtual size: where copy-before-write keeps what the guest
// overwrites while a capture is read. The file is sparse and exactly limit bytes long, because QEMU is told that the
// image ends there (raw driver, option size): a fleece store that would grow beyond fails its write, which ends the
// capture, instead of filling the file system on which the guest's own images may have to grow.
//
// It is written here because starting qemu-img costs more than the rest of an idle cycle. The layout is that of
// https://www.qemu.org/docs/master/interop/qcow2.html, version 3: header, refcount table, one refcount block, L1 table.
func createFleece(path string, size, limit int64) error {
	const entries = fleeceCluster / 8 // of an L2 table
	l1 := (size + entries*fleeceCluster - 1) / (entries * fleeceCluster)
	l1Clusters := (l1*8 + fleeceCluster - 1) / fleeceCluster
	used := 3 + l1Clusters
	if used > fleeceCluster/2 || used*fleeceCluster > limit {
		return fmt.Errorf("fleece image of %d bytes: limit of %d bytes is too small", size, limit)
	}
	h := make([]byte, 112)
	copy(h, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(h[4:], 3)                // version
	be.PutUint32(h[20:], 16)              // cluster bits
	be.PutUint64(h[24:], uint64(size))    //
	be.PutUint32(h[36:], uint32(l1))      // L1 entries
	be.PutUint64(h[40:], 3*fleeceCluster) // L1 table
	be.PutUint64(h[48:], fleeceCluster)   // refcount table
	be.PutUint32(h[56:], 1)               // its clusters
	be.PutUint32(h[96:], 4)               // refcounts of 2^4 bits
	be.PutUint32(h[100:], 104)            // header length; the 8 zeros that follow end the extensions
	var table [8]byte
	be.PutUint64(table[:], 2*fleeceCluster)
	counts := make([]byte, 2*used)
	for i := range used {
		be.PutUint16(counts[2*i:], 1)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("fleece image: %w", err)
	}
	_, err1 := f.WriteAt(h, 0)
	_, err2 := f.WriteAt(table[:], fleeceCluster)
	_, err3 := f.WriteAt(counts, 2*fleeceCluster)
	if err := errors.Join(err1, err2, err3, f.Truncate(limit), f.Close()); err != nil {
		return fmt.Errorf("fleece image: %w", err)
	}
	return nil
}

// fleeceLimit is how large the fleece store of a disk may grow: as configured, never more than the disk with its
// tables, and never more than the disk's share of half of what the file system has left.
func (d *Driver) fleeceLimit(dir string, size int64, disks int) int64 {
	limit := d.cfg.FleeceLimit
	if limit == 0 {
		limit = fleeceDefault
	}
	limit = min(limit, size+size/256+fleeceLeast)
	if free, ok := freeSpace(dir); ok {
		limit = min(limit, free/2/int64(max(disks, 1)))
	}
	return limit / fleeceCluster * fleeceCluster
}
