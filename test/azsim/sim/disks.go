package sim

import (
	"net/http"
	"strings"
	"time"
)

// Kinds of resource that do more than being there.
const (
	kindDisk            = "microsoft.compute/disks"
	kindSnapshot        = "microsoft.compute/snapshots"
	kindVM              = "microsoft.compute/virtualmachines"
	kindExtension       = "microsoft.compute/virtualmachines/extensions"
	kindAvailabilitySet = "microsoft.compute/availabilitysets"
	kindNIC             = "microsoft.network/networkinterfaces"
	kindVNet            = "microsoft.network/virtualnetworks"
	kindSubnet          = "microsoft.network/virtualnetworks/subnets"
	kindPublicIP        = "microsoft.network/publicipaddresses"
	kindNSG             = "microsoft.network/networksecuritygroups"
	kindAssociation     = "microsoft.insights/datacollectionruleassociations"
)

const gib = 1 << 30

// footer is what a fixed VHD has behind its disk, in bytes.
const footer = 512

func (s *Sim) putDisk(res, old *resource) *armError {
	d, key := res.doc, strings.ToLower(res.id)
	if old != nil {
		return s.changeDisk(res, old)
	}
	if d.text("sku.name") == "" {
		d.set("sku.name", "Standard_LRS")
	}
	switch option := d.text("properties.creationData.createOption"); option {
	case "Empty":
		size := int64(d.number("properties.diskSizeGB")) * gib
		if size <= 0 {
			return refusal(http.StatusBadRequest, "InvalidParameter", "Required parameter 'diskSizeGB' is missing (null).")
		}
		s.disks[key] = s.pages.CreateDisk(res.id, size)
	case "Copy":
		from := s.find(d.text("properties.creationData.sourceResourceId"))
		if e := s.copyable(res, from); e != nil {
			return e
		}
		s.disks[key] = s.blobOf(from.id).Copy(res.id)
		if grown := int64(d.number("properties.diskSizeGB")) * gib; grown > s.disks[key].Size() {
			s.disks[key].Resize(grown)
		}
		for _, name := range []string{"osType", "hyperVGeneration"} {
			if v := from.doc.at("properties." + name); v != nil && d.at("properties."+name) == nil {
				d.set("properties."+name, v)
			}
		}
	case "Upload", "UploadPreparedSecure":
		size := int64(d.number("properties.creationData.uploadSizeBytes"))
		if size < footer || (size-footer)%(1<<20) != 0 {
			return refusal(http.StatusBadRequest, "InvalidParameter", "The value %d of parameter 'creationData.uploadSizeBytes' is invalid: it must be a multiple of 1 MiB plus 512 bytes.", size)
		}
		s.disks[key] = s.pages.CreateDisk(res.id, size)
		d.set("properties.uploading", "ready")
	default:
		return refusal(http.StatusBadRequest, "InvalidParameter", "The value '%s' of parameter 'createOption' is invalid.", option)
	}
	s.born(res)
	return nil
}

// born gives a new disk or snapshot what only the service gives.
func (s *Sim) born(res *resource) {
	d := res.doc
	d.set("properties.uniqueId", s.newID())
	d.set("properties.timeCreated", s.o.Now().UTC().Format(time.RFC3339Nano))
	if d.at("properties.encryption.type") == nil {
		d.set("properties.encryption.type", "EncryptionAtRestWithPlatformKey")
	}
	if kind, _, ok := strings.Cut(d.text("sku.name"), "_"); ok {
		d.set("sku.tier", strings.TrimSuffix(kind, "SSD"))
	}
	s.sized(res)
}

func (s *Sim) sized(res *resource) {
	size := s.blobOf(res.id).Size()
	if res.doc.text("properties.uploading") != "" {
		size -= footer
	}
	res.doc.set("properties.diskSizeBytes", size)
	res.doc.set("properties.diskSizeGB", (size+gib-1)/gib)
}

func (s *Sim) changeDisk(res, old *resource) *armError {
	for _, name := range []string{"creationData", "uniqueId", "timeCreated", "uploading", "diskSizeBytes", "osType", "hyperVGeneration"} {
		if v := old.doc.at("properties." + name); v != nil && res.doc.at("properties."+name) == nil {
			res.doc.set("properties."+name, v)
		}
	}
	if v, ok := old.doc["managedBy"]; ok {
		res.doc["managedBy"] = v
	}
	if res.doc.at("sku") == nil {
		res.doc["sku"] = old.doc["sku"]
	}
	want := int64(res.doc.number("properties.diskSizeGB")) * gib
	b := s.blobOf(res.id)
	switch {
	case want == 0 || want <= b.Size() && want+gib > b.Size():
	case want < b.Size():
		return refusal(http.StatusBadRequest, "OperationNotAllowed", "Disk '%s' cannot be made smaller.", res.name)
	default:
		b.Resize(want)
	}
	s.sized(res)
	return nil
}

// copyable checks what is to be copied in one region.
func (s *Sim) copyable(res, from *resource) *armError {
	switch {
	case from == nil || s.blobOf(from.id) == nil:
		return refusal(http.StatusNotFound, "ResourceNotFound", "The source of '%s' was not found.", res.name)
	case normal(from.region) != normal(res.region):
		return refusal(http.StatusBadRequest, "BadRequest", "The source '%s' is in another location than '%s'.", from.id, res.name)
	}
	s.advance(from)
	if from.doc.number("properties.completionPercent") < 100 && s.copying(from) {
		return refusal(http.StatusConflict, "OperationNotAllowed", "Snapshot '%s' is still being copied.", from.name)
	}
	if from.doc.text("properties.uploading") != "" {
		return refusal(http.StatusConflict, "OperationNotAllowed", "Disk '%s' is being uploaded.", from.name)
	}
	return nil
}

func (s *Sim) putSnapshot(res, old *resource) *armError {
	d, key := res.doc, strings.ToLower(res.id)
	if old != nil {
		for _, name := range []string{"creationData", "incremental", "diskSizeBytes", "diskSizeGB", "osType", "completionPercent", "timeCreated", "uniqueId", "hyperVGeneration", "sourceUniqueId"} {
			if v := old.doc.at("properties." + name); v != nil && d.at("properties."+name) == nil {
				d.set("properties."+name, v)
			}
		}
		return nil
	}
	if d.text("properties.creationData.createOption") == "Empty" {
		return s.putDisk(res, nil)
	}
	from := s.find(d.text("properties.creationData.sourceResourceId"))
	if from == nil || s.blobOf(from.id) == nil {
		return refusal(http.StatusNotFound, "ResourceNotFound", "The source of '%s' was not found.", res.name)
	}
	switch option := d.text("properties.creationData.createOption"); option {
	case "Copy":
		if e := s.copyable(res, from); e != nil {
			return e
		}
		if from.kind == kindSnapshot || !d.flag("properties.incremental") {
			s.disks[key] = s.blobOf(from.id).Copy(res.id)
		} else {
			s.disks[key] = s.blobOf(from.id).Snapshot(res.id)
		}
		d.set("properties.completionPercent", 100)
	case "CopyStart":
		if from.kind != kindSnapshot || !from.doc.flag("properties.incremental") || !d.flag("properties.incremental") {
			return refusal(http.StatusBadRequest, "BadRequest", "CopyStart needs an incremental snapshot on both sides.")
		}
		s.disks[key] = s.blobOf(from.id).Copy(res.id)
		s.copies[key] = s.o.Now().Add(s.o.CopyTime)
		d.set("properties.completionPercent", 0)
	default:
		return refusal(http.StatusBadRequest, "InvalidParameter", "The value '%s' of parameter 'createOption' is invalid.", option)
	}
	for _, name := range []string{"osType", "hyperVGeneration"} {
		if v := from.doc.at("properties." + name); v != nil {
			d.set("properties."+name, v)
		}
	}
	if d.text("sku.name") == "" {
		d.set("sku.name", "Standard_LRS")
	}
	d.set("properties.sourceUniqueId", from.doc.text("properties.uniqueId"))
	d.set("properties.creationData.sourceUniqueId", from.doc.text("properties.uniqueId"))
	s.born(res)
	return nil
}

// copying reports whether a snapshot's copy from another region goes on.
func (s *Sim) copying(res *resource) bool {
	ends, ok := s.copies[strings.ToLower(res.id)]
	return ok && s.o.Now().Before(ends)
}

// advance brings the percentage of a copy from another region up to date.
func (s *Sim) advance(res *resource) {
	key := strings.ToLower(res.id)
	ends, ok := s.copies[key]
	if !ok || s.down[normal(res.region)] {
		return
	}
	left := ends.Sub(s.o.Now())
	if left <= 0 {
		res.doc.set("properties.completionPercent", 100)
		delete(s.copies, key)
		return
	}
	res.doc.set("properties.completionPercent", float64(int(100*(1-left.Seconds()/s.o.CopyTime.Seconds()))))
}

func (s *Sim) diskState(res *resource) string {
	granted := s.blobOf(res.id) != nil && s.blobOf(res.id).Granted()
	switch upload := res.doc.text("properties.uploading"); {
	case upload != "" && granted:
		return "ActiveUpload"
	case upload != "":
		return "ReadyToUpload"
	case res.doc.text("managedBy") != "":
		if vm := s.guests[strings.ToLower(res.doc.text("managedBy"))]; vm != nil && !vm.allocated {
			return "Reserved"
		}
		return "Attached"
	case granted:
		return "ActiveSAS"
	}
	return "Unattached"
}

func (s *Sim) deletable(res *resource) *armError {
	if vm := res.doc.text("managedBy"); vm != "" {
		return refusal(http.StatusConflict, "OperationNotAllowed", "Disk %s is attached to VM %s.", res.name, vm)
	}
	if s.blobOf(res.id).Granted() {
		return refusal(http.StatusConflict, "OperationNotAllowed", "Disk '%s' has an active shared access signature outstanding. End access before deleting it.", res.name)
	}
	return nil
}

func (s *Sim) grantAccess(res *resource, body doc) answer {
	b := s.blobOf(res.id)
	seconds := body.number("durationInSeconds")
	write := strings.EqualFold(body.text("access"), "Write")
	state := s.diskState(res)
	switch {
	case b == nil:
		return answer{err: notFound(res.id)}
	case seconds < 1:
		return answer{err: refusal(http.StatusBadRequest, "InvalidParameter", "Required parameter 'durationInSeconds' is missing.")}
	case write && (res.kind != kindDisk || state != "ReadyToUpload" && state != "ActiveUpload"):
		return answer{err: refusal(http.StatusConflict, "OperationNotAllowed", "Write access is only for disks that are uploaded; '%s' is %s.", res.name, state)}
	case !write && (state == "ReadyToUpload" || state == "ActiveUpload"):
		return answer{err: refusal(http.StatusConflict, "OperationNotAllowed", "Disk '%s' is in state %s.", res.name, state)}
	case !write && res.kind == kindDisk && state == "Attached":
		return answer{err: refusal(http.StatusConflict, "OperationNotAllowed", "Disk '%s' is attached to a running VM.", res.name)}
	}
	if res.kind == kindSnapshot {
		s.advance(res)
		if s.copying(res) {
			return answer{err: refusal(http.StatusConflict, "OperationNotAllowed", "Snapshot '%s' is still being copied.", res.name)}
		}
	}
	return later(http.StatusAccepted, nil, s.begin(res.region, func() (any, *armError) {
		return doc{"accessSAS": s.pages.Grant(b, write, s.o.Now().Add(time.Duration(seconds)*time.Second))}, nil
	}))
}

func (s *Sim) endAccess(res *resource) answer {
	return later(http.StatusAccepted, nil, s.begin(res.region, func() (any, *armError) {
		b := s.blobOf(res.id)
		if b == nil {
			return nil, nil
		}
		s.pages.Revoke(b)
		if res.doc.text("properties.uploading") != "" {
			res.doc.drop("properties.uploading")
			b.Resize(b.Size() - footer)
			s.sized(res)
		}
		return nil, nil
	}))
}
