//go:build mutants

package mutants

// The campaigns that find planted bugs.
var (
	powerCutBuffer = campaign{
		name: "power cut of the buffer", pkg: "./cmd/sw4rm/internal/storagefault", run: "^TestPowerCut$/^buffer$",
	}
	powerCutQueue = campaign{
		name: "power cut of the queue", pkg: "./cmd/sw4rm/internal/storagefault", run: "^TestPowerCut$/^queue$",
	}
	damage = campaign{
		name: "damaged logs without a note of their length", pkg: "./runtime/store/pebble", run: "^TestBitFlipsWithoutNote$",
	}
	answers = campaign{
		name: "a disk that takes its time", pkg: "./runtime/activity", run: "^TestAnswersWaitForTheDisk$",
	}
	bufferModel = campaign{
		name: "model of the buffer", pkg: "./runtime/activity", run: "^TestSequences$",
		flags: []string{"-rapid.nofailfile", "-rapid.shrinktime=1s"},
	}
	queueModel = campaign{
		name: "conformance of the queue", pkg: "./services/queue/kv", run: "^TestMemory$",
	}
	streams = campaign{
		name: "streams of agents", pkg: "./runtime/agent", run: "Stream",
	}
	foreign = campaign{
		name: "a peer on plain stubs", pkg: "./cmd/sw4rm/internal/e2e", run: "^TestForeign(Request|Answer)$",
	}
)

func mutants() []mutant {
	return []mutant{
		{
			name: "acknowledged before the sync",
			edits: []edit{{
				file: "runtime/activity/buffer.go",
				old:  "if err := b.store.Sync(ctx, mark); err != nil {",
				new:  "if err := b.store.Err(); err != nil {",
			}},
			by: powerCutBuffer,
		},
		{
			name: "duplicate answered before the first one is synced",
			edits: []edit{{
				file: "runtime/activity/in_record.go",
				old:  "	mark := b.markOfIn(was.GetSequence())\n",
				new:  "	var mark store.Mark\n",
			}},
			by: answers,
		},
		{
			name: "directories not synced",
			edits: []edit{{
				file: "runtime/store/pebble/guard.go",
				old:  "func (f *guardedFile) Sync() error { return f.sync(f.File.Sync) }",
				new: `func (f *guardedFile) Sync() error {
				if info, err := f.File.Stat(); err == nil && info.IsDir() {
					return nil
				}
				return f.sync(f.File.Sync)
			}`,
			}},
			by: powerCutBuffer,
		},
		{
			name: "lease without compare and set",
			edits: []edit{{
				file: "services/queue/kv/rows.go",
				old:  "return r.holder.Agent == h.Agent && r.holder.Store == h.Store",
				new:  "return true",
			}},
			by: queueModel,
		},
		{
			name: "deduplication forgotten after a restart",
			edits: []edit{{
				file: "runtime/activity/in_run.go",
				old:  "	t.batch.Set([]byte(dedupKeyOf(rec)), encodeNumber(seq))\n",
				new:  "",
			}},
			by: bufferModel,
		},
		{
			name: "failure replayed to a retry",
			edits: []edit{{
				file: "runtime/activity/in_record.go",
				old:  "if !known.GetEarlier() && known.GetRetryCount() >= a.Envelope.GetRetryCount() {",
				new:  "if !known.GetEarlier() {",
			}},
			by: bufferModel,
		},
		{
			name: "time to live in seconds",
			edits: []edit{{
				file: "services/queue/kv/submission.go",
				old:  "return time.Duration(ms) * time.Millisecond",
				new:  "return time.Duration(ms) * time.Second",
			}},
			by: queueModel,
		},
		{
			name: "terminal stage overwritten",
			edits: []edit{{
				file: "runtime/ack/ack.go",
				old:  "if from.Terminal() || to <= from || to > TimedOut {",
				new:  "if to == from || to > TimedOut {",
			}},
			by: bufferModel,
		},
		{
			name: "sequence begins anew after a restart",
			edits: []edit{{
				file: "runtime/activity/meta.go",
				old:  "c.reserved = n + reserve",
				new:  "c.reserved = n",
			}},
			by: powerCutBuffer,
		},
		{
			name: "queue without a bound",
			edits: []edit{{
				file: "services/queue/kv/accept.go",
				old:  "n := e.queueLen(q); n >= most",
				new:  "n := e.queueLen(q); n < 0",
			}},
			by: queueModel,
		},
		{
			name: "window of deduplication ignored",
			edits: []edit{{
				file: "runtime/activity/out_table.go",
				old:  ">= b.cfg.DedupWindow",
				new:  ">= 0",
			}},
			by: bufferModel,
		},
		{
			name: "window of a stream ignored",
			edits: []edit{{
				file: "runtime/agent/flow.go",
				old:  "windowed: windowOf(rec.GetContentType()) > 0,",
				new:  "windowed: false,",
			}},
			by: streams,
		},
		{
			name: "outcome without its reply",
			edits: []edit{{
				file: "runtime/activity/in_run.go",
				old:  "	t.batch.Delete(numberKey(keyInActive, seq))\n	size, err := t.set(numberKey(keyInDone, seq), rec)",
				new: `	half, err := b.commit(t, true, "write the reply")
	if err != nil {
		return nil, 0, err
	}
	if err := b.store.Sync(context.Background(), half); err != nil {
		return nil, 0, err
	}
	t = b.begin()
	t.batch.Delete(numberKey(keyInActive, seq))
	size, err := t.set(numberKey(keyInDone, seq), rec)`,
			}},
			by: powerCutBuffer,
		},
		{
			name: "acknowledgement of an acknowledgement",
			edits: []edit{{
				file: "runtime/agent/receive.go",
				old:  "		a.settled(d)\n		o.change(ch, err)\n",
				new: `		a.settled(d)
		a.signal(env.GetProducerId(), env.GetCorrelationId(), ack.Ack{ForMessageID: env.GetMessageId(), Stage: ack.Received})
		o.change(ch, err)
`,
			}},
			by: foreign,
		},
		{
			name: "accepted before it is appended",
			edits: []edit{{
				file: "services/queue/kv/accept.go",
				old:  "	err := r.e.s.Sync(ctx, r.mark)\n",
				new:  "	var err error\n",
			}},
			by: powerCutQueue,
		},
		{
			// The store's own look at its log covers for the format, and the format for it.
			name: "the engine's default log format, whose damage looks like its end",
			edits: []edit{{
				file: "runtime/store/pebble/options.go",
				old:  "const formatMajorVersion = pebble.FormatTableFormatV6",
				new:  "const formatMajorVersion = pebble.FormatMinSupported",
			}, {
				file: "runtime/store/pebble/logscan.go",
				old:  "proof != nil {\n		return damaged(path",
				new:  "proof != nil && false {\n		return damaged(path",
			}},
			by: damage,
		},
	}
}
