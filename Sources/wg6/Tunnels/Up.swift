import ArgumentParser

struct Up: ParsableCommand {
  func run() throws {}
}
struct Down: ParsableCommand {
  func run() throws {}
}
