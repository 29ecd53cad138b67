// Appends entries to a log of Tessera's POSIX driver as fast as it takes them, and says what each costs.
//
//	tesseraappend DIRECTORY BATCH ENTRIES
//
// An entry is done when its future says so: Tessera has then written bundle, tiles and tree state with O_SYNC and synced their directories.
// No deduplication, no witness. Leaves are made before the clock starts, as in Pedigraph's own bench.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	leafBytes = 1024
	// No batch waits this long here: the next entry is always ready.
	batchAge = 100 * time.Millisecond
	// The smallest that the driver takes.
	checkpointInterval = 100 * time.Millisecond
)

func main() {
	batch, entries := number(os.Args[2]), number(os.Args[3])
	leaves := make([][]byte, entries)
	for n := range leaves {
		leaves[n] = leaf(uint64(n))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	driver := must(posix.New(ctx, posix.Config{Path: os.Args[1]}))
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer()).
		WithBatching(uint(batch), batchAge).WithCheckpointInterval(checkpointInterval)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	check(err)

	start, cpu := time.Now(), cpuSeconds()
	// One goroutine adds and this one waits; the queue between them is Tessera's, which takes two batches beside the one it writes.
	futures := make(chan tessera.IndexFuture, 4*batch)
	go func() {
		for _, leaf := range leaves {
			futures <- appender.Add(ctx, tessera.NewEntry(leaf))
		}
		close(futures)
	}()
	for future := range futures {
		must(future())
	}
	wall := time.Since(start).Seconds()
	// Waits for the checkpoint over all of them.
	check(shutdown(ctx))
	cpu = cpuSeconds() - cpu
	fmt.Printf("%.0f entries/s %.0f entries per CPU second\n", float64(entries)/wall, float64(entries)/cpu)
}

// No two leaves are the same, and no two parts of one either.
func leaf(n uint64) []byte {
	leaf := make([]byte, 0, leafBytes)
	for part := range uint64(leafBytes / 8) {
		leaf = binary.BigEndian.AppendUint64(leaf, n<<8|part)
	}
	return leaf
}

func signer() note.Signer {
	private, _, err := note.GenerateKey(nil, "example.com/bench")
	check(err)
	return must(note.NewSigner(private))
}

// User and system time of all threads.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func number(text string) int { return must(strconv.Atoi(text)) }

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
