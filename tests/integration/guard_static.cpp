// Linked statically: nothing can be loaded into it.
int main() {
  return 5;
}
