//! tmp
#[test]
fn smoke() {
    let lab = e2e::lab::Lab::up("smoke");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    let r = node.add(&pod);
    println!("{r}");
    println!("{}", node.status());
    for k in ["address"] { println!("{:?}", node.ask(&["explain", k, &e2e::pod::address_of(&r).to_string()])); }
    println!("{:?}", node.kernel().mentions(e2e::pod::address_of(&r)));
    println!("{:?}", node.check(&pod, &r).run(&node));
    node.del(&pod);
    assert!(daemon.terminate().success());
}
