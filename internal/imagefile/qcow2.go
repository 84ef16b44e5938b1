package imagefile

import "encoding/binary"

// The format is QEMU's docs/interop/qcow2.txt.
const (
	cluster    = 64 << 10
	perL2      = cluster / 8 // clusters that a table of the second level tells of
	perRef     = cluster / 2 // clusters that a block of reference counts tells of
	qcowHeader = 104
	copied     = 1 << 63 // nobody else refers to it
)

// qcow2 lays out: header, first table, table and blocks of reference counts, second tables, data.
func (f *File) qcow2(src Source) {
	size := roundUp(src.Size(), Sector)
	list, data := allocate(src, cluster)
	entries := (size + cluster*perL2 - 1) / (cluster * perL2)
	l1 := roundUp(max(1, entries)*8, cluster) / cluster
	// Of the first table's entries, those below which there is data.
	var used runs
	var l2 int64
	for _, r := range list {
		first, end := r.first/perL2, (r.first+r.count+perL2-1)/perL2
		if k := len(used); k > 0 && used[k-1].first+used[k-1].count >= first {
			grown := max(end-used[k-1].first, used[k-1].count)
			l2 += grown - used[k-1].count
			used[k-1].count = grown
			continue
		}
		used = append(used, run{first, end - first, l2})
		l2 += end - first
	}
	// The counts tell of themselves, too.
	var table, blocks int64
	for {
		total := 1 + l1 + table + blocks + l2 + data
		b := (total + perRef - 1) / perRef
		t := (b*8 + cluster - 1) / cluster
		if b <= blocks && t <= table {
			break
		}
		blocks, table = max(b, blocks), max(t, table)
	}
	total := 1 + l1 + table + blocks + l2 + data
	atTable := 1 + l1
	atBlocks := atTable + table
	atL2 := atBlocks + blocks
	atData := atL2 + l2

	h := make([]byte, cluster)
	be := binary.BigEndian
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3)                        // version
	be.PutUint32(h[20:], 16)                      // cluster bits
	be.PutUint64(h[24:], uint64(size))            // of the disk
	be.PutUint32(h[36:], uint32(max(1, entries))) // entries of the first table
	be.PutUint64(h[40:], uint64(cluster))         // where it is
	be.PutUint64(h[48:], uint64(atTable)*cluster) // where the table of reference counts is
	be.PutUint32(h[56:], uint32(table))           // its clusters
	be.PutUint32(h[96:], 4)                       // a count has 1<<4 bits
	be.PutUint32(h[100:], qcowHeader)             // and no extensions behind it
	f.bytes(h)
	f.words(l1*cluster, 8, func(i int64) uint64 {
		if n, ok := used.index(i); ok {
			return uint64(atL2+n)*cluster | copied
		}
		return 0
	})
	f.words(table*cluster, 8, func(i int64) uint64 {
		if i < blocks {
			return uint64(atBlocks+i) * cluster
		}
		return 0
	})
	f.words(blocks*cluster, 2, func(i int64) uint64 {
		if i < total {
			return 1
		}
		return 0
	})
	f.words(l2*cluster, 8, func(i int64) uint64 {
		entry, _ := used.at(i / perL2)
		if n, ok := list.index(entry*perL2 + i%perL2); ok {
			return uint64(atData+n)*cluster | copied
		}
		return 0
	})
	f.add(data*cluster, func(p []byte, at int64) error {
		for len(p) > 0 {
			unit, follow := list.at(at / cluster)
			inside := at % cluster
			part := p[:min(int64(len(p)), follow*cluster-inside)]
			if err := readFull(src, part, unit*cluster+inside); err != nil {
				return err
			}
			p, at = p[len(part):], at+int64(len(part))
		}
		return nil
	})
}
