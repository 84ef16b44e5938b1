package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A guest is what a machine is doing.
type guest struct {
	power     string // running, stopped, deallocated
	allocated bool
	booted    time.Time
}

// bootedFrom is what the disk of a guest says: it travels with the disk's bytes.
type bootedFrom struct {
	// Handlers are extensions that were installed, with the machine that they were installed on and when they last worked.
	Handlers map[string]handler `json:"handlers,omitempty"`
}

type handler struct {
	VM        string    `json:"vm"` // unique ID
	Publisher string    `json:"publisher"`
	Type      string    `json:"type"`
	Version   string    `json:"version"`
	Seen      time.Time `json:"seen"`
}

// Where the guest keeps that on its first disk, in bytes.
const (
	guestOffset = 64 << 10
	guestLength = 8 << 10
)

func (s *Sim) readGuest(vm *resource) (g bootedFrom) {
	g.Handlers = map[string]handler{}
	b := s.blobOf(vm.doc.text("properties.storageProfile.osDisk.managedDisk.id"))
	if b == nil {
		return g
	}
	p := make([]byte, guestLength)
	if _, err := b.ReadAt(p, guestOffset); err == nil {
		_ = json.Unmarshal(p[:strings.IndexByte(string(p)+"\x00", 0)], &g) // a disk of zeros has none
	}
	if g.Handlers == nil {
		g.Handlers = map[string]handler{}
	}
	return g
}

func (s *Sim) writeGuest(vm *resource, g bootedFrom) {
	b := s.blobOf(vm.doc.text("properties.storageProfile.osDisk.managedDisk.id"))
	data, err := json.Marshal(g)
	if b == nil || err != nil || len(data) >= guestLength {
		return
	}
	p := make([]byte, guestLength)
	copy(p, data)
	_, _ = b.WriteAt(p, guestOffset) // within the disk, as it was read
}

// diskRefs lists the disks of a machine: the first is the one that it starts from.
func diskRefs(d doc) []doc {
	var out []doc
	if os, ok := d.at("properties.storageProfile.osDisk").(map[string]any); ok {
		out = append(out, os)
	}
	return append(out, d.list("properties.storageProfile.dataDisks")...)
}

func (s *Sim) putVM(res, old *resource) *armError {
	d, key := res.doc, strings.ToLower(res.id)
	if old != nil {
		keepVM(res, old)
	}
	refs := diskRefs(d)
	if len(refs) == 0 {
		return refusal(http.StatusBadRequest, "InvalidParameter", "Required parameter 'storageProfile.osDisk' is missing (null).")
	}
	if d.text("properties.hardwareProfile.vmSize") == "" {
		return refusal(http.StatusBadRequest, "InvalidParameter", "Required parameter 'hardwareProfile.vmSize' is missing (null).")
	}
	g := s.guests[key]
	wanted := map[string]bool{}
	for i, ref := range refs {
		if option := ref.text("createOption"); option == "FromImage" || option == "Empty" {
			if e := s.fromImage(res, ref, i); e != nil {
				return e
			}
		}
		id := ref.text("managedDisk.id")
		disk := s.find(id)
		switch {
		case disk == nil:
			return refusal(http.StatusNotFound, "NotFound", "Disk %s is not found.", id)
		case normal(disk.region) != normal(res.region):
			return refusal(http.StatusBadRequest, "BadRequest", "Disk %s is not in the same location as Virtual Machine %s.", disk.name, res.name)
		case disk.doc.text("managedBy") != "" && !strings.EqualFold(disk.doc.text("managedBy"), res.id):
			return refusal(http.StatusConflict, "AttachDiskWhileBeingDetached", "Disk %s is attached to VM %s.", disk.name, disk.doc.text("managedBy"))
		case disk.doc.text("properties.uploading") != "":
			return refusal(http.StatusConflict, "OperationNotAllowed", "Disk %s is in upload state.", disk.name)
		case disk.doc.text("managedBy") == "" && s.blobOf(disk.id).Granted():
			return refusal(http.StatusConflict, "OperationNotAllowed", "Disk %s has an active shared access signature outstanding.", disk.name)
		case zoneOf(disk.doc) != zoneOf(d):
			return refusal(http.StatusBadRequest, "BadRequest", "Disk %s is in zone %q, and Virtual Machine %s in zone %q.", disk.name, zoneOf(disk.doc), res.name, zoneOf(d))
		}
		if i == 0 && g != nil && g.allocated && !strings.EqualFold(id, old.doc.text("properties.storageProfile.osDisk.managedDisk.id")) {
			return refusal(http.StatusConflict, "OperationNotAllowed", "The OS disk of VM %s can be swapped only when it is deallocated.", res.name)
		}
		wanted[strings.ToLower(disk.id)] = true
		ref.set("managedDisk.id", disk.id)
		if ref.text("name") == "" {
			ref["name"] = disk.name
		}
		ref["diskSizeGB"] = disk.doc.at("properties.diskSizeGB")
		ref.set("managedDisk.storageAccountType", disk.doc.text("sku.name"))
	}
	nics := d.list("properties.networkProfile.networkInterfaces")
	if len(nics) == 0 {
		return refusal(http.StatusBadRequest, "InvalidParameter", "The entity list 'networkProfile.networkInterfaces' is empty.")
	}
	for _, ref := range nics {
		nic := s.find(ref.text("id"))
		switch {
		case nic == nil:
			return refusal(http.StatusNotFound, "NotFound", "Network interface %s is not found.", ref.text("id"))
		case normal(nic.region) != normal(res.region):
			return refusal(http.StatusBadRequest, "BadRequest", "Network interface %s is in another location.", nic.name)
		case nic.doc.text("properties.virtualMachine.id") != "" && !strings.EqualFold(nic.doc.text("properties.virtualMachine.id"), res.id):
			return refusal(http.StatusBadRequest, "NicInUse", "Network interface %s is used by %s.", nic.name, nic.doc.text("properties.virtualMachine.id"))
		}
	}
	if set := d.text("properties.availabilitySet.id"); set != "" && (s.find(set) == nil || zoneOf(d) != "") {
		return refusal(http.StatusBadRequest, "InvalidParameter", "The availability set %s does not exist, or the VM has a zone.", set)
	}
	for k, other := range s.resources {
		if other.kind == kindDisk && strings.EqualFold(other.doc.text("managedBy"), res.id) && !wanted[k] {
			delete(other.doc, "managedBy")
		}
	}
	for k := range wanted {
		s.resources[k].doc["managedBy"] = res.id
	}
	for _, ref := range nics {
		s.find(ref.text("id")).doc.set("properties.virtualMachine.id", res.id)
	}
	if old == nil {
		d.set("properties.vmId", s.newID())
		d.set("properties.timeCreated", s.o.Now().UTC().Format(time.RFC3339Nano))
		s.guests[key] = &guest{power: "running", allocated: true, booted: s.o.Now()}
	}
	return nil
}

// keepVM keeps what a PUT need not repeat.
func keepVM(res, old *resource) {
	for _, name := range []string{"vmId", "timeCreated", "availabilitySet", "diagnosticsProfile"} {
		if v := old.doc.at("properties." + name); v != nil && res.doc.at("properties."+name) == nil {
			res.doc.set("properties."+name, v)
		}
	}
	if res.doc["zones"] == nil && old.doc["zones"] != nil {
		res.doc["zones"] = old.doc["zones"]
	}
}

func zoneOf(d doc) string {
	zones, _ := d["zones"].([]any)
	if len(zones) == 0 {
		return ""
	}
	return fmt.Sprint(zones[0])
}

// fromImage makes a disk of a machine that starts from an image, or asks for a new one: an empty one.
func (s *Sim) fromImage(res *resource, ref doc, i int) *armError {
	name := ref.text("name")
	if name == "" {
		name = fmt.Sprintf("%s_disk%d_%s", res.name, i, s.newID()[:8])
	}
	group := res.id[:strings.Index(res.id, "/providers/")]
	id := group + "/providers/Microsoft.Compute/disks/" + name
	size := max(ref.number("diskSizeGB"), 1)
	disk := &resource{id: id, kind: kindDisk, name: name, region: res.region, made: s.o.Now(), doc: doc{"id": id, "name": name, "location": res.region,
		"type": "Microsoft.Compute/disks", "properties": map[string]any{"creationData": map[string]any{"createOption": "Empty"}, "diskSizeGB": size, "provisioningState": "Succeeded",
			"osType": "Linux"}}}
	if zones, ok := res.doc["zones"]; ok {
		disk.doc["zones"] = zones
	}
	if e := s.putDisk(disk, nil); e != nil {
		return e
	}
	s.resources[strings.ToLower(id)] = disk
	ref["name"], ref["createOption"] = name, "Attach"
	ref.set("managedDisk.id", id)
	return nil
}

// release lets go of what a machine had.
func (s *Sim) release(vm *resource) {
	var also []string
	for k, res := range s.resources {
		switch {
		case res.kind == kindDisk && strings.EqualFold(res.doc.text("managedBy"), vm.id):
			delete(res.doc, "managedBy")
		case res.kind == kindNIC && strings.EqualFold(res.doc.text("properties.virtualMachine.id"), vm.id):
			res.doc.drop("properties.virtualMachine")
		default:
			continue
		}
		for _, ref := range append(diskRefs(vm.doc), vm.doc.list("properties.networkProfile.networkInterfaces")...) {
			id := ref.text("managedDisk.id") + ref.text("id")
			if strings.EqualFold(id, res.id) && (ref.text("deleteOption") == "Delete" || ref.text("properties.deleteOption") == "Delete") {
				also = append(also, k)
			}
		}
	}
	for _, k := range also {
		s.remove(k)
	}
}

// running refuses what needs a machine that runs: of the machine or of something below it.
func (s *Sim) running(id, what string) *armError {
	vm := strings.ToLower(id)
	if i := strings.Index(vm, "/extensions/"); i >= 0 {
		vm = vm[:i]
	}
	if g := s.guests[vm]; g == nil || g.power != "running" {
		return refusal(http.StatusConflict, "OperationNotAllowed", "Cannot %s when the VM is not running.", what)
	}
	return nil
}

func (s *Sim) actVM(r *http.Request, vm *resource, action string, body doc) answer {
	g := s.guests[strings.ToLower(vm.id)]
	power := func(to string, allocated bool) answer {
		return later(http.StatusAccepted, nil, s.begin(vm.region, func() (any, *armError) {
			if g.power != "running" && to == "running" {
				g.booted = s.o.Now()
			}
			s.beat(vm)
			g.power, g.allocated = to, allocated
			return nil, nil
		}))
	}
	switch action {
	case "reapply", "redeploy", "installpatches", "assesspatches":
		return later(http.StatusAccepted, nil, s.begin(vm.region, nil))
	case "instanceview":
		return answer{status: http.StatusOK, body: s.instanceView(vm)}
	case "start":
		return power("running", true)
	case "restart":
		return power("running", true)
	case "poweroff":
		return power("stopped", true)
	case "deallocate":
		return power("deallocated", false)
	case "runcommand":
		if e := s.running(vm.id, "run commands in the VM"); e != nil {
			return answer{err: e}
		}
		return later(http.StatusAccepted, nil, s.begin(vm.region, func() (any, *armError) { return s.runCommand(vm, body), nil }))
	case "retrievebootdiagnosticsdata":
		return s.diagnostics(r, vm)
	}
	return answer{err: refusal(http.StatusNotFound, "NotFound", "There is no action %s of %s.", action, vm.name)}
}

func (s *Sim) runCommand(vm *resource, body doc) doc {
	var lines []string
	items, _ := body.at("script").([]any)
	for _, v := range items {
		lines = append(lines, fmt.Sprint(v))
	}
	stdout, stderr := "", ""
	if s.o.RunCommand != nil {
		var exit int
		stdout, stderr, exit = s.o.RunCommand(vm.id, strings.Join(lines, "\n"))
		if exit != 0 && stderr == "" {
			stderr = fmt.Sprintf("exit status %d", exit)
		}
	}
	return doc{"value": []any{doc{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded",
		"message": "Enable succeeded: \n[stdout]\n" + stdout + "\n[stderr]\n" + stderr}}}
}

// viewVM is a machine as it is shown.
func (s *Sim) viewVM(vm *resource, expand bool) doc {
	d := vm.doc.clone()
	var below []string
	for k, e := range s.resources {
		if e.kind == kindExtension && strings.HasPrefix(k, strings.ToLower(vm.id)+"/") {
			below = append(below, k)
		}
	}
	slices.Sort(below)
	extensions := []any{}
	for _, k := range below {
		extensions = append(extensions, s.resources[k].doc.clone())
	}
	if len(extensions) > 0 {
		d["resources"] = extensions
	}
	if expand {
		d.set("properties.instanceView", s.instanceView(vm))
	}
	return d
}

// status is one of an instance view, which tells when it was seen. The service leaves the time out of power states.
func (s *Sim) status(code, level, display, message string) doc {
	d := doc{"code": code, "level": level, "displayStatus": display}
	if !strings.HasPrefix(code, "PowerState/") {
		d["time"] = s.o.Now().UTC().Format(time.RFC3339Nano)
	}
	if message != "" {
		d["message"] = message
	}
	return d
}

func (s *Sim) instanceView(vm *resource) doc {
	g := s.guests[strings.ToLower(vm.id)]
	if g == nil {
		return doc{}
	}
	display := map[string]string{"running": "VM running", "stopped": "VM stopped", "deallocated": "VM deallocated"}[g.power]
	disks := []any{}
	for _, ref := range diskRefs(vm.doc) {
		disks = append(disks, doc{"name": ref.text("name"), "statuses": []any{s.status("ProvisioningState/succeeded", "Info", "Provisioning succeeded", "")}})
	}
	view := doc{"computerName": vm.name, "hyperVGeneration": "V2", "disks": disks, "statuses": []any{s.status("ProvisioningState/succeeded", "Info", "Provisioning succeeded", ""), s.status("PowerState/"+g.power, "Info", display, "")}}
	if g.power != "running" {
		return view
	}
	view["osName"], view["osVersion"] = "debian", "12"
	agent, handlers, extensions := "ProvisioningState/succeeded", []any{}, []any{}
	installed := s.readGuest(vm)
	for _, name := range sortedKeys(installed.Handlers) {
		h := installed.Handlers[name]
		full := h.Publisher + "." + h.Type
		if h.VM == vm.doc.text("properties.vmId") {
			handlers = append(handlers, doc{"type": full, "typeHandlerVersion": h.Version, "status": s.status("ProvisioningState/succeeded", "Info", "Ready", "Plugin enabled")})
			extensions = append(extensions, doc{"name": name, "type": full, "typeHandlerVersion": h.Version, "statuses": []any{s.status("ProvisioningState/succeeded", "Info", "Provisioning succeeded", "Enable succeeded")}})
			continue
		}
		// It was copied with the disk: the platform does not hear from it.
		handlers = append(handlers, doc{"type": full, "typeHandlerVersion": h.Version, "status": s.status("ProvisioningState/Unresponsive", "Warning", "Unresponsive",
			fmt.Sprintf("Handler %s of version %s is unresponsive. Last heartbeat: %s", full, h.Version, h.Seen.UTC().Format("1/2/2006 3:04:05 PM")))})
	}
	view["vmAgent"] = doc{"vmAgentVersion": "2.9.1.1", "statuses": []any{s.status(agent, "Info", "Ready", "Guest Agent is running")}, "extensionHandlers": handlers}
	if len(extensions) > 0 {
		view["extensions"] = extensions
	}
	return view
}
